# The worker: Sextant and what it needs, as an ordinary user, with no build tools left behind.
FROM python:3.11-slim

RUN useradd --create-home sextant
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY embedder embedder
COPY search search
COPY flows flows
# --extra-index-url: PyTorch's CPU builds; the default ones carry gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH_INDEX" torch \
 && pip install --no-cache-dir --constraint constraints.txt ".[documents]"

USER sextant
ENV DO_NOT_TRACK=1
CMD ["sextant", "--help"]

"""The contenders of `benchmarks.encoder`, each the program of a process of its own.

`python -m benchmarks.contenders KEY FOLDER`: reads its assignment and then commands from standard
input, a line of JSON each, and answers each with one line. It computes only when told to, so that
no two contenders ever compete for the machine.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

WARM_UP: Final = 64
"""Texts encoded before anything is measured."""
SAMPLE: Final = 32
"""Texts whose vectors are handed over, to see whether two contenders did the same work."""
NAMES: Final = {
    "a": "official TP + CP",
    "b": "sentence-transformers, last token",
    "c": "ours, TP + CP",
    "d": "ours, neither",
}
"""What stands in tables; keys are the order of a round."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a contender is told first; the texts lie in `texts.json` of the folder."""

    dtype: str
    device: str
    threads: int


class Contender(Protocol):
    """From texts to vectors of unit length, in the order given."""

    def encode(self, texts: list[str]) -> Vectors:
        """Float32, (N, D)."""
        ...


@dataclass(frozen=True, slots=True)
class Layers:
    """Where TP and CP act in a model of so many layers: the papers' proportions."""

    tp: tuple[int, int]
    cp: int

    @classmethod
    def of(cls, layers: int) -> "Layers":
        """TP from layer 1 to a fifth of the depth (7 of 32), CP at a seventh (4 of 30)."""
        return cls(tp=(1, max(2, round(0.2 * layers))), cp=max(1, layers // 7))


class Official:
    """(a) The papers' code: see `benchmarks.official`."""

    def __init__(self, folder: Path, task: Assignment) -> None:
        from benchmarks.official import OfficialEncoder, OfficialSettings

        layers = Layers.of(_layers(folder))
        settings = OfficialSettings(output_layer=-2, tp=layers.tp, cp_layer=layers.cp, mode="norm")
        self._encoder = OfficialEncoder(
            folder, settings, dtype=getattr(torch, task.dtype), device=task.device
        )

    def encode(self, texts: list[str]) -> Vectors:
        """Float32, (N, D)."""
        vectors: Vectors = self._encoder.encode(texts).numpy()
        return vectors


class LastToken:
    """(b) Plain last-token pooling of the same prompt by sentence-transformers, as it comes.

    Its own batch size (32), its own sorting by length; no language-model head, no cache.
    """

    def __init__(self, folder: Path, task: Assignment) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        from embedder.prompts import find_template

        dtype = getattr(torch, task.dtype)
        transformer = Transformer(str(folder), model_kwargs={"dtype": dtype})
        pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
        self._model = SentenceTransformer(modules=[transformer, pooling], device=task.device)
        self._template = find_template("eol")

    def encode(self, texts: list[str]) -> Vectors:
        """Float32, (N, D)."""
        prompts = [self._template.render(text) for text in texts]
        vectors: Vectors = self._model.encode(
            prompts, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32)


class Ours:
    """(c) and (d) `Encoder`, with or without the two interventions."""

    def __init__(self, folder: Path, task: Assignment, *, interventions: bool) -> None:
        from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
        from embedder.encoder import Encoder

        layers = Layers.of(_layers(folder))
        start, exit_layer = layers.tp
        plain: dict[str, Any] = {"dtype": task.dtype, "max_tokens": 2048, "template": "eol"}
        config = EncoderConfig(**plain, output_layer=-1)
        if interventions:
            config = EncoderConfig(
                **plain,
                output_layer=-2,
                token_prepending=TokenPrepending(start=start, exit=exit_layer),
                contrastive_prompting=ContrastivePrompting(layer=layers.cp, mode="norm"),
            )
        self._encoder = Encoder.load(str(folder), config, device=task.device)

    def encode(self, texts: list[str]) -> Vectors:
        """Float32, (N, D)."""
        vectors: Vectors = self._encoder.encode_document(texts)
        return vectors


CONTENDERS: Final[dict[str, Callable[[Path, Assignment], Contender]]] = {
    "a": Official,
    "b": LastToken,
    "c": lambda folder, task: Ours(folder, task, interventions=True),
    "d": lambda folder, task: Ours(folder, task, interventions=False),
}


def peak_mib(device: str) -> float:
    """The most memory this process has held: of the GPU, or of the machine.

    The kernel's own mark of this address space comes first: `getrusage` also counts what the
    parent held when it started this process.
    """
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated() / 2**20)
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 1024)


def serve(key: str, folder: Path) -> None:
    """Do what the lines of standard input say until it ends."""
    # Libraries may print: what is left of standard output for them is standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    task = Assignment(**json.loads(sys.stdin.readline()))
    torch.set_num_threads(task.threads)
    texts: list[str] = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    contender = CONTENDERS[key](folder, task)
    cuda = task.device == "cuda"
    answer(ready=key, device_name=torch.cuda.get_device_name() if cuda else None)
    for line in sys.stdin:
        command = json.loads(line)["command"]
        if command == "warm up":
            contender.encode(texts[:WARM_UP])
            answer(done=command)
        elif command == "measure":
            began = time.perf_counter()
            vectors = contender.encode(texts)  # on the CPU in the end, so that nothing is pending
            seconds = time.perf_counter() - began
            answer(seconds=seconds, texts=len(vectors), peak_mib=peak_mib(task.device))
        elif command == "vectors":
            answer(vectors=contender.encode(texts[:SAMPLE]).tolist())
        else:
            raise ValueError(f"unknown command {command!r}; use 'warm up', 'measure' or 'vectors'")


def _layers(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config["num_hidden_layers"])


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))

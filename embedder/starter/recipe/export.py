"""From a trained student to the folder that ships: float16 safetensors, config, tokenizer."""

import copy
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import LlamaModel

from embedder.starter.recipe.tokenizer import save_tokenizer

LIMIT_BYTES = 20_000_000
"""What the whole folder may take in the repository."""


def export_model(model: LlamaModel, tokenizer: Tokenizer, folder: Path, *, max_tokens: int) -> int:
    """Write the model folder; returns its size in bytes.

    Raises:
        ValueError: the folder is larger than 20 MB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half: Any = copy.deepcopy(model).half()  # type: ignore[no-untyped-call]
    half.config.dtype = torch.float16
    half.save_pretrained(folder, safe_serialization=True)
    save_tokenizer(tokenizer, folder, max_tokens=max_tokens)
    size = sum(p.stat().st_size for p in folder.iterdir())
    if size > LIMIT_BYTES:
        raise ValueError(f"{folder.name} takes {size} bytes; at most {LIMIT_BYTES} may ship")
    return size

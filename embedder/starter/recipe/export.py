"""From a trained student to the folder that ships: int8 safetensors, config, tokenizer."""

from pathlib import Path
from typing import Final

from tokenizers import Tokenizer
from transformers import LlamaModel

from embedder.int8_weights import save_int8
from embedder.starter.recipe.tokenizer import save_tokenizer

LIMIT_BYTES: Final = 20_000_000
"""What the whole folder may take in the repository."""


def export_model(model: LlamaModel, tokenizer: Tokenizer, folder: Path, *, max_tokens: int) -> int:
    """Write the model folder; returns its size in bytes.

    Raises:
        ValueError: the folder is larger than 20 MB, or a weight is NaN or infinite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    save_int8(model.state_dict(), folder / "model.safetensors")
    save_tokenizer(tokenizer, folder, max_tokens=max_tokens)
    size = sum(p.stat().st_size for p in folder.iterdir())
    if size > LIMIT_BYTES:
        raise ValueError(f"{folder.name} takes {size} bytes; at most {LIMIT_BYTES} may ship")
    return size

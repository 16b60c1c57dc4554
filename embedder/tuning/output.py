"""What a run leaves: a folder that the encoder loads, with a LoRA adapter or a whole model.

Files are made in a folder of their own beside it and moved, the one by which an encoder is found
last, so that a process that is killed leaves no half of one.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from embedder.presets import PRESET_FILE
from embedder.specification import SETTINGS_FILE, EncoderSpecification, specify
from embedder.tuning.checkpoints import flush
from embedder.tuning.errors import TuningFailed
from embedder.tuning.lora import save_adapter
from embedder.tuning.settings import TuningSettings
from embedder.tuning.trainable import TrainableEncoder

CARD: Final = "MODEL_CARD.md"
READABLE: Final = 0o644
_TOKENIZER: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "generation_config.json"),
)
_HALVES: Final = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def write_output(
    encoder: TrainableEncoder,
    base: EncoderSpecification,
    settings: TuningSettings,
    out: Path,
    *,
    source: str,
) -> EncoderSpecification:
    """Write the tuned encoder into its folder, and read back what it is.

    Args:
        encoder: with the weights to write.
        base: what it began as.
        settings: how it was tuned.
        out: the folder; it exists.
        source: where the settings come from, in some words.

    Raises:
        TuningFailed: it cannot be written.
    """
    making = out / ".making.tmp"
    name = PRESET_FILE if settings.method == "lora" else "config.json"
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        if settings.method == "lora":
            _adapter(encoder, base, settings, making, source)
        else:
            _model(encoder, base, making)
        names = sorted(path.name for path in making.iterdir())
        for file in sorted(names, key=lambda one: (one == name, one)):
            (making / file).chmod(READABLE)  # safetensors lets the owner alone read its files
            flush(making / file)
            (making / file).replace(out / file)
        making.rmdir()
        flush(out)
    except OSError as error:
        raise TuningFailed(
            f"the tuned encoder cannot be written to {str(out)!r} ({error}); its checkpoints are "
            "whole: make room, then --resume"
        ) from error
    return specify(str(out))


def _adapter(
    encoder: TrainableEncoder,
    base: EncoderSpecification,
    settings: TuningSettings,
    folder: Path,
    source: str,
) -> None:
    weights: dict[str, Tensor] = {name: p.detach() for name, p in encoder.trained.items()}
    save_adapter(encoder.lora, weights, folder, base=base.name, rank=settings.lora_rank)
    config = encoder.config.model_copy(update={"adapter": "."})
    content = {"model": base.name, "config": config.model_dump(mode="json"), "source": source}
    _write(folder / PRESET_FILE, content)


def _model(encoder: TrainableEncoder, base: EncoderSpecification, folder: Path) -> None:
    stored = _HALVES.get(base.files.stored_dtype or "", torch.float32)
    tensors = {name: value.detach() for name, value in encoder.model.state_dict().items()}
    if not all(bool(torch.isfinite(t.to(stored)).all()) for t in tensors.values()):
        stored = torch.float32  # float16 ends at 65504
    config: Any = encoder.model.config
    before = config.dtype
    config.dtype = stored
    try:
        encoder.model.save_pretrained(
            folder, state_dict={name: value.to(stored) for name, value in tensors.items()}
        )
    finally:
        config.dtype = before
    for name in _TOKENIZER:
        if (base.files.folder / name).is_file():
            shutil.copyfile(base.files.folder / name, folder / name)
    config_of_it = encoder.config.model_copy(update={"adapter": None, "merge_adapter": False})
    _write(folder / SETTINGS_FILE, config_of_it.model_dump(mode="json"))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )

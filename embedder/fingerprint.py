"""What makes two encoders the same: everything that changes a vector, resolved, and nothing else.

Settings that are spelled differently and mean the same are brought into one form: a template's key
into its text, a layer counted from the end into one counted from the front. Settings that cannot
matter beside the others are left out.
"""

import hashlib
import json
from typing import Any, Final

from embedder.config import KINDS, EncoderConfig, Kind
from embedder.prompts import SLOT, auxiliary_text, find_template

METHOD_REVISION: Final = 2
"""Raised whenever the same settings would give other vectors than before."""

_WITHOUT_STRENGTH: Final = ("norm", "sub_head_norm")
"""Modes of Contrastive Prompting that do not read the strength."""


def fingerprint(
    config: EncoderConfig, *, model: str, adapter: str | None, layers: int, dimension: int
) -> str:
    """SHA-256 as 64 hexadecimal digits.

    Args:
        config: the settings.
        model: digest of the model's files.
        adapter: digest of the adapter's files; None without one.
        layers: how many the model has.
        dimension: components of a pooled state, before `config.dimensions` cuts it.
    """
    content = {
        "method": METHOD_REVISION,
        "model": model,
        "config": resolve(config, adapter=adapter, layers=layers, dimension=dimension),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def resolve(
    config: EncoderConfig, *, adapter: str | None, layers: int, dimension: int
) -> dict[str, Any]:
    """The settings in the one form that all spellings of them share."""
    settings = config.model_dump(mode="json")
    for spelled_otherwise in ("template", "query_template", "merge_adapter", "pool_prompt"):
        del settings[spelled_otherwise]
    del settings["on_overflow"]  # an error instead of a vector is no other vector
    output = config.resolve_output_layer(layers)
    tp = config.token_prepending
    settings |= {
        "prompts": {kind: _prompts(config, kind) for kind in KINDS},
        # Layers from the output layer on are not run.
        "token_prepending": tp and {"start": tp.start, "exit": min(tp.exit, output)},
        "contrastive_prompting": _contrast(config),
        "output_layer": output,
        "adapter": adapter,
        "dimensions": config.dimensions or dimension,
    }
    if adapter is not None:
        settings["merge_adapter"] = config.merge_adapter
    if config.pooling != "last":
        settings["pool_prompt"] = config.pool_prompt
    return settings


def _prompts(config: EncoderConfig, kind: Kind) -> list[Any]:
    """Each prompt as it is put together."""
    return [
        _prompt(config, source, config.placeholders(index))
        for index, source in enumerate(config.templates(kind))
    ]


def _prompt(config: EncoderConfig, source: str, placeholders: int) -> list[Any]:
    """With placeholders their number and the parts around them, which are tokenised apart."""
    tp = config.token_prepending
    if tp is None or not placeholders:
        return [find_template(source).render(SLOT)]
    found = find_template(source, tp.position)
    return [placeholders, found.head, found.before, found.after, found.tail]


def _contrast(config: EncoderConfig) -> dict[str, Any] | None:
    tp, cp = config.token_prepending, config.contrastive_prompting
    if cp is None:
        return None
    content = cp.model_dump(mode="json")
    source = auxiliary_text(cp.auxiliary, shared=cp.shared_context)
    placeholders = tp.placeholders if tp and tp.on_auxiliary else 0
    content["auxiliary"] = _prompt(config, source, placeholders)
    if cp.mode in _WITHOUT_STRENGTH:
        del content["strength"]
    return content

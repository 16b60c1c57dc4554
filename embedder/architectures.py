"""Which kinds of model can be an encoder, read off `config.json` alone. No torch."""

from collections.abc import Mapping
from typing import Any, Final

_NAMES: Final = """
albert bart bert bert-generation big_bird bigbird_pegasus blenderbot blenderbot-small camembert
canine convbert data2vec-text deberta deberta-v2 distilbert electra ernie ernie_m esm esmc eurobert
flaubert fnet fsmt funnel gte ibert jina_embeddings_v3 layoutlm layoutlmv2 layoutlmv3 led lilt
longformer longt5 luke m2m_100 marian mbart megatron-bert mobilebert modernbert mpnet mra mt5 mvp
neobert nezha nllb-moe nomic_bert nystromformer pegasus pegasus_x perceiver plbart prophetnet
qdqbert reformer rembert roberta roberta-prelayernorm roc_bert roformer splinter squeezebert
switch_transformers t5 t5gemma t5gemma2 tapas umt5 xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso
"""
_BIDIRECTIONAL: Final = frozenset(_NAMES.split())
"""Encoders and encoder-decoders: their last token has seen no more than any other."""

_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config", "thinker_config")
"""Where configs of multimodal models keep their decoder's."""

_TEXT_ONLY: Final = {
    "gemma": "google/gemma-3-1b-pt",
    "llama": "meta-llama/Llama-3.2-1B",
    "mistral": "mistralai/Mistral-7B-v0.3",
    "phi": "microsoft/Phi-3-mini-4k-instruct",
    "qwen": "Qwen/Qwen3-0.6B-Base",
    "smollm": "HuggingFaceTB/SmolLM2-360M",
}
"""A text-only model for each family that has multimodal ones."""


def objection(config: Mapping[str, Any]) -> str | None:
    """Why a model of this config cannot be an encoder, with the remedy; None where it may be one.

    Whether a decoder's layers can be run is not decided here: that shows when it is loaded.

    >>> objection({"model_type": "llama"})
    >>> objection({"model_type": "bert"})[:45]
    "is of type 'bert', which reads in both direct"
    """
    kind = config["model_type"]
    if not isinstance(kind, str):
        return f"is of type {kind!r}, which is no name; fetch or save it again"
    for part in _TEXT_PARTS:
        if isinstance(config.get(part), Mapping):
            own = config[part].get("model_type") or kind
            return (
                f"is of type {kind!r}, a multimodal model around a decoder of type {own!r}; use "
                f"the text-only model, such as {_text_only(str(own))}"
            )
    if _reads_both_ways(config):
        return (
            f"is of type {kind!r}, which reads in both directions; Sextant needs a "
            "decoder-only model, such as one of type llama, qwen3 or gemma2"
        )
    return None


def _reads_both_ways(config: Mapping[str, Any]) -> bool:
    """By its type, by what it was built for, or by a flag that turns a decoder into an encoder."""
    built_for = config.get("architectures") or []
    return (
        config["model_type"] in _BIDIRECTIONAL
        or config.get("is_encoder_decoder") is True
        or config.get("use_bidirectional_attention") is True
        or config.get("is_causal") is False
        or any(str(name).endswith("ForMaskedLM") for name in built_for)
    )


def _text_only(kind: str) -> str:
    for family, model in _TEXT_ONLY.items():
        if kind.startswith(family):
            return model
    return _TEXT_ONLY["qwen"]

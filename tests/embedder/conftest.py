"""Tiny random decoders and a tiny tokenizer, made on the spot, with nothing to download.

Every parameter is random, norms and biases too: at their initial ones and zeros a loop that forgot
them would pass.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2Model,
    Gemma3TextConfig,
    Gemma3TextModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Olmo2Config,
    Olmo2Model,
    Phi3Config,
    Phi3Model,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    SmolLM3Config,
    SmolLM3Model,
)

from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.prompts import AUXILIARY_TEMPLATE, TEMPLATES

LAYERS = 4
POSITIONS = 256
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
PARTIAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
SLIDING, FULL = "sliding_attention", "full_attention"
DECODERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    # Each with what sets its family apart. Windows are shorter than the tests' longer texts.
    "llama": (LlamaConfig, LlamaModel, {"num_key_value_heads": 2, "attention_bias": True}),
    "mistral": (MistralConfig, MistralModel, {"num_key_value_heads": 1, "sliding_window": 30}),
    "qwen2": (
        Qwen2Config,
        Qwen2Model,
        {
            "num_key_value_heads": 2,
            "use_sliding_window": True,
            "sliding_window": 20,
            "max_window_layers": 2,
        },
    ),
    "qwen3": (Qwen3Config, Qwen3Model, {"num_key_value_heads": 2, "head_dim": 16}),
    "gemma2": (
        Gemma2Config,
        Gemma2Model,
        {
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "sliding_window": 16,
            "attn_logit_softcapping": 5.0,
        },
    ),
    "gemma3_text": (
        Gemma3TextConfig,
        Gemma3TextModel,
        {
            "num_key_value_heads": 1,
            "head_dim": 16,
            "query_pre_attn_scalar": 24,
            "sliding_window": 16,
            "layer_types": [SLIDING, FULL, SLIDING, FULL],
        },
    ),
    "phi3": (
        Phi3Config,
        Phi3Model,
        {"num_key_value_heads": 2, "rope_parameters": PARTIAL_ROPE},
    ),
    "smollm3": (
        SmolLM3Config,
        SmolLM3Model,
        {"num_key_value_heads": 2, "no_rope_layers": [1, 0, 1, 0], "use_sliding_window": False},
    ),
    "olmo2": (Olmo2Config, Olmo2Model, {"num_key_value_heads": 2}),
}
CORPUS = [
    *TEMPLATES.values(),
    AUXILIARY_TEMPLATE,
    "The cat sat on the mat, and the dog looked at the cat.",
    "Prices rose by 3.5% in March; the bank kept its rate.",
    "Ein kleiner Hund läuft über die Straße. Où est la gare ?",
    "Vectors of sentences with the same meaning should be near each other.",
]


def build_tokenizer(*, bos: bool = True, eos: bool = False) -> Tokenizer:
    """A byte-level BPE of 400 tokens whose first three are special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    if bos or eos:
        single = " ".join(["<s>"] * bos + ["$A"] + ["</s>"] * eos)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return tokenizer


def build_decoder(kind: str, vocabulary: int, **changes: Any) -> Any:
    """A random decoder; its attention is peaked enough for a wrong key to show."""
    config_class, model_class, own = DECODERS[kind]
    config = config_class(**{**SHAPE, **own, "vocab_size": vocabulary, **changes})
    model = model_class(config).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    return model


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """On decoders this small a second thread only waits, and for long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


@pytest.fixture(scope="session")
def tokenizer_builder() -> Callable[..., Tokenizer]:
    return build_tokenizer


@pytest.fixture(scope="session")
def decoder_builder() -> Callable[..., Any]:
    return build_decoder


@pytest.fixture(scope="session")
def folders(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A model folder for each architecture; not to be written to."""
    root = tmp_path_factory.mktemp("decoders")
    for kind in DECODERS:
        build_decoder(kind, tokenizer.get_vocab_size()).save_pretrained(root / kind)
        tokenizer.save(str(root / kind / "tokenizer.json"))
    return {kind: root / kind for kind in DECODERS}


@pytest.fixture(scope="session")
def encoder_of(folders: Mapping[str, Path]) -> Callable[..., Encoder]:
    """`encoder_of("qwen3", pooling="mean")`: an encoder on the CPU with these settings."""
    loaded: dict[tuple[str, EncoderConfig], Encoder] = {}

    def load(kind: str = "llama", **settings: Any) -> Encoder:
        config = EncoderConfig.model_validate({"max_tokens": 64, **settings})
        key = (kind, config)
        if key not in loaded:
            loaded[key] = Encoder.load(str(folders[kind]), config, device="cpu")
        return loaded[key]

    return load

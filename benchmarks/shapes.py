"""Model folders of real shapes with random weights: speed does not depend on what a model knows.

Dimensions are those of the published models; weights are normal noise, the tokenizer is made on the
spot. Nothing is downloaded. The folders load in transformers, sentence-transformers and `Encoder`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from embedder.prompts import find_auxiliary, find_template

SPECIAL_TOKENS = ("<s>", "</s>", "<pad>")
POOL = 2**22 + 15
"""Random values that are drawn; odd, so that no two rows of a matrix are the same stretch of it."""
SHARD_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Dimensions of a decoder, as its published config.json has them."""

    family: str
    """`llama` or `qwen3`."""
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool

    def config(self) -> Any:
        """The transformers config."""
        kinds: dict[str, Any] = {"llama": LlamaConfig, "qwen3": Qwen3Config}
        own = {name: value for name, value in asdict(self).items() if name != "family"}
        bos, eos, pad = range(len(SPECIAL_TOKENS))
        return kinds[self.family](
            **own, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad, dtype="bfloat16"
        )


SHAPES: dict[str, Shape] = {
    "tiny": Shape(
        family="llama",
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=1024,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    ),
    "smollm2-135m": Shape(
        family="llama",
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        vocab_size=49152,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "qwen3-0.6b": Shape(
        family="qwen3",
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    ),
    "llama-3.2-1b": Shape(
        family="llama",
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        vocab_size=128256,
        max_position_embeddings=131072,
        tie_word_embeddings=True,
    ),
    "llama-3-8b": Shape(
        family="llama",
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=128256,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
}


def write_model(shape: Shape, folder: Path, *, seed: int = 0, std: float = 0.02) -> None:
    """Write config, weights (bfloat16 safetensors, in shards) and tokenizer into an empty folder.

    Args:
        shape: the dimensions.
        folder: is made.
        seed: of the weights.
        std: standard deviation of the weights; those of norms are 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = shape.config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if shape.tie_word_embeddings:
        del shapes["lm_head.weight"]
    _write_weights(shapes, folder, seed=seed, std=std)
    _write_tokenizer(shape, folder)


def _write_weights(shapes: dict[str, torch.Size], folder: Path, *, seed: int, std: float) -> None:
    """One shard in memory at a time; values are stretches of a pool: drawing 8 billion is slow."""
    generator = torch.Generator().manual_seed(seed)
    pool = (torch.randn(POOL, generator=generator) * std).to(torch.bfloat16)
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in shapes.items():
        if shards[-1] and used + 2 * size.numel() > SHARD_BYTES:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += 2 * size.numel()
    index = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        if len(shards) == 1:
            file = "model.safetensors"
        tensors = {}
        for name in names:
            size = shapes[name]
            if len(size) == 1:
                tensors[name] = torch.ones(size, dtype=torch.bfloat16)
                continue
            start = int(torch.randint(POOL, (1,), generator=generator))
            repeats = -(-(start + size.numel()) // POOL)
            stretch = pool.repeat(repeats)[start : start + size.numel()]
            tensors[name] = stretch.reshape(size).clone()
        save_file(tensors, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        written = {"metadata": {}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(written), encoding="utf-8")


def _write_tokenizer(shape: Shape, folder: Path) -> None:
    """`tokenizer.json`, and what transformers wants beside it."""
    build_tokenizer(shape.vocab_size).save(str(folder / "tokenizer.json"))
    bos, eos, pad = SPECIAL_TOKENS
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "model_max_length": shape.max_position_embeddings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def build_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE that knows the templates' words and many made-up ones as single tokens.

    At least one id of the model's vocabulary stays free: the official code adds its placeholder to
    the tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size - 1, 12000),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    templates = [find_template("eol"), find_auxiliary("irrelevant")]
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    syllables = syllables[: min(len(syllables), int((vocab_size / 8) ** 0.5))]
    words = [first + second for first in syllables for second in syllables]
    # With and without a blank in front, as in the middle of a text and at its beginning.
    corpus = [f"{word} {word}" for word in words for _ in range(2)]
    corpus += [template.render("x") for template in templates for _ in range(1000)]
    tokenizer.train_from_iterator(corpus, trainer)
    bos = SPECIAL_TOKENS[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, 0)]
    )
    return tokenizer

"""In training texts are read as the encoder reads them, and nothing old is kept."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.specification import EncoderSpecification, specify
from embedder.tuning.output import write_output
from embedder.tuning.ranks import Ranks
from embedder.tuning.trainable import TrainableEncoder
from tests.embedder.conftest import DECODERS
from tests.embedder.tuning.conftest import settings_of

TEXTS = [
    "The cat sat on the mat, and the dog looked at the cat.",
    "Prices rose.",
    "",
    "Vectors of sentences with the same meaning should be near each other, other, other. " * 3,
    "Ein kleiner Hund.",
]
TP = {"token_prepending": {"start": 1, "exit": 3}}
CP = {"contrastive_prompting": {"layer": 1}}
SHARED = {"contrastive_prompting": {"layer": 2, "mode": "scaled", "shared_context": True}}
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "TP": TP,
    "CP": CP,
    "TP and CP": TP | CP,
    "TP and shared CP": TP | SHARED,
    "mean": {"pooling": "mean", "template": "none"},
    "mean of the prompt": {"pooling": "mean", "pool_prompt": True, **TP},
    "last and mean": {"pooling": "last_mean", **TP, "output_layer": 3},
    "several prompts": {"template": ("eol", "cluster"), **TP, **CP},
    "attention": {"pooling": "attention_weighted_mean"},
}
BaseOf = Callable[..., EncoderSpecification]


def unit(encoder: TrainableEncoder, texts: list[str]) -> Tensor:
    """Vectors through the training forward, without dropout."""
    prompted = encoder.prompted(texts, ["document"] * len(texts))
    return F.normalize(encoder.embed(prompted, range(len(texts))), dim=-1)


def difference(vectors: Tensor, encoder: Encoder) -> float:
    return float((vectors.detach() - torch.from_numpy(encoder.encode(TEXTS))).abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", DECODERS)
def test_the_training_forward_is_the_encoders(
    kind: str, method: str, base_of: BaseOf, encoder_of: Callable[..., Encoder]
) -> None:
    """A new adapter changes nothing yet: the same vectors, with a graph, in train mode too."""
    encoder = TrainableEncoder(
        base_of(kind, **METHODS[method]), settings_of(lora_dropout=0.0), device="cpu"
    )
    vectors = unit(encoder, TEXTS)
    assert vectors.requires_grad
    assert difference(vectors, encoder_of(kind, **METHODS[method])) < 1e-5
    encoder.model.train()
    assert difference(unit(encoder, TEXTS), encoder_of(kind, **METHODS[method])) < 1e-5
    dev = F.normalize(encoder.encode(TEXTS, ranks=Ranks()), dim=-1)
    assert difference(dev, encoder_of(kind, **METHODS[method])) < 1e-5


@pytest.mark.parametrize("method", ["TP and CP", "mean"])
@pytest.mark.parametrize("full", [False, True])
def test_what_was_trained_is_what_the_encoder_loads(
    full: bool, method: str, base_of: BaseOf, tmp_path: Path
) -> None:
    """Weights that moved: nothing of their old keys, values or placeholder is kept."""
    settings = settings_of(method="full" if full else "lora", lora_dropout=0.0)
    base = base_of("llama", **METHODS[method])
    encoder = TrainableEncoder(base, settings, device="cpu")
    before = unit(encoder, TEXTS).detach()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.trained.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    after = unit(encoder, TEXTS).detach()
    assert float((after - before).abs().max()) > 1e-2
    written = write_output(encoder, base, settings, tmp_path, source="a test")
    assert difference(after, Encoder(written, device="cpu")) < 1e-5
    assert written.fingerprint != base.fingerprint
    if not full:
        merged = written.config.model_copy(update={"merge_adapter": True})
        assert difference(after, Encoder(replace(written, config=merged), device="cpu")) < 1e-5


def test_layers_computed_twice_give_the_same_gradients(base_of: BaseOf) -> None:
    gradients = []
    for recompute in (False, True):
        settings = settings_of(lora_dropout=0.3, gradient_checkpointing=recompute)
        encoder = TrainableEncoder(base_of("qwen3", **TP, **CP), settings, device="cpu")
        encoder.model.train()
        torch.manual_seed(3)
        unit(encoder, TEXTS).square().cumsum(0).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in encoder.trained.values()])
    assert any(bool(g.abs().max() > 0) for g in gradients[0] if g is not None)
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-6)


def test_methods_in_the_loop_afterwards_or_not_at_all(
    base_of: BaseOf, encoder_of: Callable[..., Encoder]
) -> None:
    base = base_of("llama", **TP, **CP)
    outside = TrainableEncoder(base, settings_of(tp="out", cp="out"), device="cpu")
    assert difference(unit(outside, TEXTS), encoder_of("llama")) < 1e-5
    assert outside.config.token_prepending is not None
    dev = F.normalize(outside.encode(TEXTS, ranks=Ranks()), dim=-1)
    assert difference(dev, encoder_of("llama", **TP, **CP)) < 1e-5
    without = TrainableEncoder(base, settings_of(cp="off", pooling="mean"), device="cpu")
    assert without.config.contrastive_prompting is None
    assert difference(unit(without, TEXTS), encoder_of("llama", **TP, pooling="mean")) < 1e-5


def test_queries_and_documents_in_one_batch(base_of: BaseOf, encoder_of: Any) -> None:
    own = {"query_template": "question"}
    encoder = TrainableEncoder(base_of("llama", **own), settings_of(), device="cpu")
    prompted = encoder.prompted(TEXTS, ["query", "document", "query", "document", "query"])
    chosen = [4, 1, 0]
    vectors = F.normalize(encoder.embed(prompted, chosen), dim=-1).detach()
    known = encoder_of("llama", **own)
    expected = torch.from_numpy(known.encode_document(TEXTS))
    expected[[0, 2, 4]] = torch.from_numpy(known.encode_query([TEXTS[i] for i in (0, 2, 4)]))
    assert float((vectors - expected[chosen]).abs().max()) < 1e-5


def test_a_shorter_cut_in_training_alone(base_of: BaseOf) -> None:
    encoder = TrainableEncoder(
        base_of("llama", max_tokens=200, on_overflow="error"), settings_of(max_tokens=40),
        device="cpu",
    )  # fmt: skip
    prompted = encoder.prompted(TEXTS, ["document"] * 5)
    assert prompted.truncated >= 1
    assert encoder.config.max_tokens == 200
    assert encoder.config.on_overflow == "error"


@pytest.fixture
def gpt2(tokenizer: Tokenizer, tmp_path: Path) -> Mapping[str, Any]:
    """A decoder that runs through hooks."""
    torch.manual_seed(3)
    shape = {"n_embd": 32, "n_layer": 3, "n_head": 4, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
    config = GPT2Config(**shape, embd_pdrop=0.0, vocab_size=tokenizer.get_vocab_size())
    GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save(str(tmp_path / "gpt2" / "tokenizer.json"))
    return {"name": str(tmp_path / "gpt2"), "config": {"max_tokens": 64, **TP, **CP}}


@pytest.mark.parametrize("method", ["lora", "full"])
def test_decoders_behind_hooks_are_tuned_likewise(
    method: Any, gpt2: Mapping[str, Any], tmp_path: Path
) -> None:
    base = specify(**gpt2)
    settings = settings_of(method=method, lora_dropout=0.0)
    encoder = TrainableEncoder(base, settings, device="cpu")
    assert difference(unit(encoder, TEXTS), Encoder(base, device="cpu")) < 1e-5
    encoder.model.train()
    vectors = unit(encoder, TEXTS)
    vectors[0].sum().backward()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.trained.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    out = tmp_path / "out"
    out.mkdir()
    written = write_output(encoder, base, settings, out, source="a test")
    encoder.model.eval()
    assert difference(unit(encoder, TEXTS), Encoder(written, device="cpu")) < 1e-5


def test_hooks_and_recomputation_are_refused_together(gpt2: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidConfig, match="does not go with a 'gpt2' model"):
        TrainableEncoder(specify(**gpt2), settings_of(gradient_checkpointing=True), device="cpu")


def test_an_adapter_is_not_tuned_onto_another(base_of: BaseOf, tmp_path: Path) -> None:
    base, settings = base_of(), settings_of()
    first = TrainableEncoder(base, settings, device="cpu")
    written = write_output(first, base, settings, tmp_path, source="a test")
    with pytest.raises(InvalidConfig, match="has an adapter already"):
        TrainableEncoder(written, settings, device="cpu")
    full = TrainableEncoder(written, settings_of(method="full"), device="cpu")
    assert not any("lora" in name for name in full.trained)
    assert difference(unit(full, TEXTS), Encoder(written, device="cpu")) < 1e-5

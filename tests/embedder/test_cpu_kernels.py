"""The fast modules for bfloat16 on CPUs give what the plain ones give, or are not used."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from embedder import cpu_kernels
from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.cpu_kernels import FusedMLP, PackedLinear, speed_up
from embedder.tokens import Row

BFLOAT16 = torch.bfloat16


def fast_here() -> bool:
    """Whether this processor and this torch have the calls at all."""
    try:
        PackedLinear(nn.Linear(16, 16, dtype=BFLOAT16))(torch.zeros(2, 16, dtype=BFLOAT16))
    except (RuntimeError, AttributeError):
        return False
    return True


needs_calls = pytest.mark.skipif(not fast_here(), reason="no oneDNN calls for bfloat16 here")


@needs_calls
@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_is_the_plain_one(rows: int, bias: bool) -> None:
    """With and without bias, activation and factor, to bfloat16's rounding."""
    torch.manual_seed(0)
    plain = nn.Linear(48, 80, bias=bias, dtype=BFLOAT16)
    packed, x = PackedLinear(plain), torch.randn(rows, 48, dtype=BFLOAT16)
    factor = torch.randn(rows, 80, dtype=BFLOAT16)
    for got, expected in (
        (packed(x), plain(x)),
        (packed.swish(x), nn.functional.silu(plain(x).float())),
        (packed.times(x, factor), plain(x).float() * factor.float()),
    ):
        torch.testing.assert_close(got.float(), expected.float(), atol=0.02, rtol=0.02)


@needs_calls
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "phi3", "olmo2"])
@torch.inference_mode()
def test_a_sped_up_model_gives_the_plain_ones_vectors(
    kind: str, decoder_builder: Callable[..., Any]
) -> None:
    """To bfloat16's rounding, on every family; where nothing fits, nothing is replaced."""
    rows = [Row(tuple(range(3, 3 + n))) for n in (20, 7, 1)]
    plain = Backbone(decoder_builder(kind, 400).to(BFLOAT16)).forward(rows, EncoderConfig())
    model = decoder_builder(kind, 400).to(BFLOAT16)
    assert speed_up(model)
    if kind == "llama":
        assert isinstance(model.layers[0].mlp, FusedMLP)
        assert isinstance(model.layers[3].self_attn.o_proj, PackedLinear)
    got = Backbone(model).forward(rows, EncoderConfig())
    assert torch.cosine_similarity(got, plain, dim=1).min() > 0.998


def test_only_plain_bfloat16_layers_are_replaced(decoder_builder: Callable[..., Any]) -> None:
    """float32 stays as it is; so does a layer with an adapter on it."""
    assert not speed_up(decoder_builder("llama", 400))
    model = decoder_builder("llama", 400).to(BFLOAT16)

    class Adapted(nn.Linear):
        """Any other class than the plain one."""

    model.layers[1].mlp.up_proj = Adapted(32, 48, bias=False, dtype=BFLOAT16)
    model.layers[1].self_attn.q_proj = Adapted(32, 32, dtype=BFLOAT16)
    if speed_up(model):
        assert not isinstance(model.layers[1].mlp, FusedMLP)
        assert isinstance(model.layers[1].self_attn.q_proj, Adapted)
        assert isinstance(model.layers[0].mlp, FusedMLP)


@pytest.mark.parametrize("fault", ["raises", "wrong"])
def test_calls_that_fail_the_self_check_are_not_used(
    fault: str, decoder_builder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another build of torch may lack them or change them: the plain modules stay."""

    class Broken(PackedLinear):
        def __init__(self, linear: nn.Linear) -> None:
            nn.Module.__init__(self)
            self.out = linear.out_features
            if fault == "raises":
                raise RuntimeError("no such operator")

        def forward(self, input_NI: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(input_NI), self.out, dtype=BFLOAT16)

    monkeypatch.setattr(cpu_kernels, "PackedLinear", Broken)
    model = decoder_builder("llama", 400).to(BFLOAT16)
    assert not speed_up(model)
    assert type(model.layers[0].self_attn.q_proj) is nn.Linear

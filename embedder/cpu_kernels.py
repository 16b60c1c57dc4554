"""Faster modules for bfloat16 on CPUs: weights laid out for oneDNN once, activations fused in.

transformers' own modules hand oneDNN plain matrices, which it rearranges in every call, and write
each step of the gated MLP to memory. Here the weights are rearranged when the model is loaded, in
place of the plain ones, and gate, activation and product are one call each. Fusing rounds less
often, so that results differ from the plain modules' by rounding; a self-check holds each model's
first layer against them. The calls are those that torch's own compiler emits; where this build of
torch lacks them, the plain modules stay.

Legend: `N` rows, `I` input features, `O` output features.
"""

import logging
from typing import Any, Final

import torch
from torch import Tensor, nn

ROWS: Final = 1024
"""The number of rows for which oneDNN chooses the layout; other numbers work as well."""
LEAST_COSINE: Final = 0.999
"""Agreement of the fast modules with the plain ones that the self-check asks for."""

_log = logging.getLogger(__name__)


class PackedLinear(nn.Module):
    """A linear layer whose weight is laid out for oneDNN.

    Args:
        linear: the plain layer, bfloat16, on the CPU. Its weight is copied.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        operators: Any = torch.ops.mkldnn
        self._weight = operators._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._run = operators._linear_pointwise

    def forward(self, input_NI: Tensor) -> Tensor:
        """(N, O)."""
        out_NO: Tensor = self._run(input_NI, self._weight, self._bias, "none", [], "")
        return out_NO

    def swish(self, input_NI: Tensor) -> Tensor:
        """SiLU of the output, (N, O)."""
        out_NO: Tensor = self._run(input_NI, self._weight, self._bias, "swish", [], "")
        return out_NO

    def times(self, input_NI: Tensor, factor_NO: Tensor) -> Tensor:
        """The output times a factor, (N, O)."""
        out_NO: Tensor = self._run.binary(input_NI, factor_NO, self._weight, self._bias, "mul")
        return out_NO


class FusedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)): the gated MLP of Llama and its relatives."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj = PackedLinear(mlp.gate_proj)
        self.up_proj = PackedLinear(mlp.up_proj)
        self.down_proj = PackedLinear(mlp.down_proj)

    def forward(self, input_NI: Tensor) -> Tensor:
        """(N, I), as wide as the input."""
        out_NI: Tensor = self.down_proj(
            self.up_proj.times(input_NI, self.gate_proj.swish(input_NI))
        )
        return out_NI


def speed_up(model: Any) -> bool:
    """Put the fast modules into a loaded decoder, in place; returns whether that was done.

    Only plain bfloat16 linear layers on the CPU are replaced, so that adapters stay as they are.
    """
    weight = model.get_input_embeddings().weight
    backend: Any = torch.backends.mkldnn
    usable = weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
    if not (usable and backend.is_available() and _agrees(model.layers[0])):
        return False
    for layer in model.layers:
        for owner, name, module in _replacements(layer):
            setattr(owner, name, FusedMLP(module) if name == "mlp" else PackedLinear(module))
    return True


def _replacements(layer: Any) -> list[tuple[Any, str, Any]]:
    """What can be replaced in a layer: its owner, its name there, the plain module."""
    found = [
        (layer.self_attn, name, module)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        if type(module := getattr(layer.self_attn, name, None)) is nn.Linear
    ]
    parts = [getattr(layer.mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    activation = type(getattr(layer.mlp, "act_fn", None)).__name__
    if all(type(part) is nn.Linear for part in parts) and activation in ("SiLUActivation", "SiLU"):
        found.append((layer, "mlp", layer.mlp))
    return found


@torch.inference_mode()
def _agrees(layer: Any) -> bool:
    """Whether the fast modules work here and give what the plain ones of this layer give."""
    generator = torch.Generator().manual_seed(0)
    for _, name, module in _replacements(layer):
        width = module.gate_proj.in_features if name == "mlp" else module.in_features
        input_NI = torch.randn(24, width, generator=generator).to(torch.bfloat16)
        try:
            fast_NO = (FusedMLP(module) if name == "mlp" else PackedLinear(module))(input_NI)
        except (RuntimeError, AttributeError, TypeError) as error:
            _log.info("oneDNN's fused calls are not usable here (%s); plain modules stay", error)
            return False
        cosine_N = torch.cosine_similarity(fast_NO.float(), module(input_NI).float(), dim=1)
        if not bool((cosine_N > LEAST_COSINE).all()):
            _log.warning("oneDNN's fused calls disagree with the plain modules, which stay")
            return False
    return True

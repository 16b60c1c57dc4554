"""The parts of a decoder that hooks need, found whatever the family calls them.

Nothing here knows an architecture: layers are found by their number, attention and its projection
by the names that transformers' decoders use, and that the model is a decoder at all by trial.

Legend: see `embedder.hooked`.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from embedder.backbone import seeded_placeholder
from embedder.errors import UnsupportedArchitecture

ATTENTIONS: Final = ("self_attn", "self_attention", "attention", "attn", "multi_head_attention")
"""Names under which decoder layers hold their attention module."""
PROJECTIONS: Final = ("o_proj", "out_proj", "c_proj", "dense", "wo")
"""Names under which attention modules hold their output projection."""


def check_causal(model: Any) -> None:
    """Check by trial that no token of a base model sees a later one.

    Two rows of four tokens which differ in the last one must agree in their other states, up to
    rounding: to half the digits, since experts may be dealt other batches.

    Raises:
        UnsupportedArchitecture: they do not; the model is an encoder.
    """
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        row_4D = embedding(torch.arange(4, device=embedding.weight.device))
        other_4D = torch.cat((row_4D[:3], seeded_placeholder(embedding)[None]))
        mask_24 = torch.ones(2, 4, dtype=torch.int64, device=row_4D.device)
        states_24D = final_states(model, torch.stack((row_4D, other_4D)), mask_24).float()
    change_4 = (states_24D[0] - states_24D[1]).abs().amax(1)
    if change_4[:3].max() > change_4[3] * torch.finfo(row_4D.dtype).eps ** 0.5:
        raise unsupported(model, "reads both ways, as encoders do: its tokens see later ones")


def decoder_layers(model: Any) -> list[Any]:
    """Of all lists of as many modules as there are layers, the one with the most parameters."""
    count = model.config.num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise unsupported(model, f"has no list of its {count} layers")
    sizes = [sum(parameter.numel() for parameter in found.parameters()) for found in lists]
    return list(lists[sizes.index(max(sizes))])


def unsupported(
    model: Any, problem: str, remedy: str = "use a decoder-only model"
) -> UnsupportedArchitecture:
    """The error for a model that lacks what is needed, to be raised."""
    return UnsupportedArchitecture(f"a {model.config.model_type!r} model {problem}; {remedy}")


def _find(module: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The parts of a module, at any depth, which bear one of these names."""
    return [part for name, part in module.named_modules() if name.rpartition(".")[2] in names]


def final_states(model: Any, embedded_SLD: Tensor, mask_SL: Tensor) -> Tensor:
    """The model's own forward. It counts positions from 0, right under padding on the right."""
    output = model(inputs_embeds=embedded_SLD, attention_mask=mask_SL, use_cache=False)
    states_SLD: Tensor = output.last_hidden_state
    return states_SLD


def attention_of(model: Any, layer: nn.Module, index: int) -> nn.Module:
    """The attention module of a layer.

    Raises:
        UnsupportedArchitecture: it bears none of the known names.
    """
    if found := _find(layer, ATTENTIONS):
        return found[0]
    problem = f"has in layer {index} no attention under the names {', '.join(ATTENTIONS)}"
    remedy = "use another layer, or neither contrastive_prompting nor attention_weighted_mean"
    raise unsupported(model, problem, remedy)


def projection_of(model: Any, layer: nn.Module, index: int) -> nn.Module:
    """The last projection to the hidden size: a Linear, a Conv1D, or an adapter around one.

    Raises:
        UnsupportedArchitecture: there is none under the known names.
    """
    for module in reversed(_find(attention_of(model, layer, index), PROJECTIONS)):
        if getattr(module, "out_features", getattr(module, "nf", None)) == model.config.hidden_size:
            return module
    names = ", ".join(PROJECTIONS)
    problem = f"has in the attention of layer {index} no output projection under {names}"
    raise unsupported(model, problem, "switch contrastive_prompting off")

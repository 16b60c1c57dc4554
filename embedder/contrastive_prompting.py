"""Contrastive Prompting (arXiv 2505.12831, section 3): take away what an auxiliary prompt holds.

The auxiliary prompt asks for the text's irrelevant information. What it feeds into the attention
output projection at one layer is subtracted from what the normal prompt feeds there.
"""

from torch import Tensor

from embedder.config import ContrastivePrompting


def contrast(normal_SHE: Tensor, auxiliary_SHE: Tensor, settings: ContrastivePrompting) -> Tensor:
    """The steered `o_proj` input of the last token, same shape and dtype as `normal_SHE`.

    Args:
        normal_SHE: attention outputs of the normal prompts' last tokens, (S, heads, head size).
        auxiliary_SHE: the same of the auxiliary prompts, row for row.
        settings: mode and strength.

    A difference of zero (both prompts agree exactly) stays zero in every mode; nothing is NaN.
    """
    difference_SHE = normal_SHE - auxiliary_SHE
    match settings.mode:
        case "scaled":
            return settings.strength * difference_SHE
        case "norm":
            return _recover_norm(difference_SHE, normal_SHE, dims=(1, 2))
        case "scaled_norm":
            return settings.strength * _recover_norm(difference_SHE, normal_SHE, dims=(1, 2))
        case "sub_head_norm":
            return _recover_norm(difference_SHE, normal_SHE, dims=(2,))


def _recover_norm(difference_SHE: Tensor, normal_SHE: Tensor, *, dims: tuple[int, ...]) -> Tensor:
    """Scale the difference to the norm that the normal vector had over `dims`."""
    wanted = normal_SHE.float().square().sum(dims, keepdim=True).sqrt()
    present = difference_SHE.float().square().sum(dims, keepdim=True).sqrt()
    # In float32 throughout: the factor of a difference of zero is beyond float16's range.
    recovered_SHE = difference_SHE.float() * (wanted / present.clamp_min(1e-12))
    return recovered_SHE.to(difference_SHE.dtype)

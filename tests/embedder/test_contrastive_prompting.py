"""The arithmetic of Contrastive Prompting on vectors that can be worked out by hand."""

import pytest
import torch
from torch import Tensor

from embedder.config import ContrastivePrompting, ContrastMode
from embedder.contrastive_prompting import contrast

NORMAL = torch.tensor([[[3.0, 4.0], [0.0, 12.0]]])  # norms of its two heads: 5 and 12; in all: 13
AUXILIARY = torch.tensor([[[0.0, 4.0], [0.0, 8.0]]])  # difference: (3, 0), (0, 4); norm: 5
EXPECTED: dict[ContrastMode, list[list[float]]] = {
    "scaled": [[6, 0], [0, 8]],
    "norm": [[3 * 13 / 5, 0], [0, 4 * 13 / 5]],
    "scaled_norm": [[6 * 13 / 5, 0], [0, 8 * 13 / 5]],
    "sub_head_norm": [[5, 0], [0, 12]],
}


@pytest.mark.parametrize("mode", EXPECTED)
def test_worked_example(mode: ContrastMode) -> None:
    """Difference (3, 0), (0, 4) at strength 2: doubled, brought to norm 13, or to 5 and 12."""
    settings = ContrastivePrompting(layer=0, strength=2.0, mode=mode)
    got = contrast(NORMAL, AUXILIARY, settings)
    torch.testing.assert_close(got, torch.tensor([EXPECTED[mode]], dtype=torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", EXPECTED)
def test_equal_prompts_give_zero_and_never_nan(mode: ContrastMode, dtype: torch.dtype) -> None:
    """Story: in float16 the factor |v| / 1e-12 became infinite, and 0 * inf gave NaN."""
    settings = ContrastivePrompting(layer=0, mode=mode)
    same: Tensor = NORMAL.to(dtype)
    got = contrast(same, same.clone(), settings)
    assert got.dtype == dtype
    assert torch.equal(got, torch.zeros_like(same))

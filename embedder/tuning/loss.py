"""What tuning makes small: InfoNCE over a whole batch, distillation, each over nested vectors too.

Pure functions of vectors that are not normalised yet.

Legend: `B` pairs (or texts), `M` hard negatives, `C` = B + M candidates, `D` components, `T`
components of a teacher's vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss to differentiate, and how often the right candidate was the nearest."""

    value: Tensor
    """Scalar, float32."""
    accuracy: float | None = None
    """Share of the pairs, 0 to 1; None where there is nothing to find."""


def info_nce(
    first_BD: Tensor,
    second_BD: Tensor,
    negative_MD: Tensor,
    hidden_BC: Tensor,
    *,
    temperature: float,
    symmetric: bool = False,
) -> Loss:
    """Cross-entropy of finding each pair's second text among all second texts and negatives.

    Args:
        first_BD: vectors of the first texts.
        second_BD: vectors of the second texts, row for row.
        negative_MD: vectors of hard negatives, any number, 0 included.
        hidden_BC: bool; candidates that are no negatives of a row (see `false_negatives`). The
            row's own second text is never hidden.
        temperature: what cosines are divided by.
        symmetric: whether the second texts look for the first ones as well; the mean of both.
    """
    first_BD = F.normalize(first_BD.float(), dim=-1)
    candidate_CD = F.normalize(torch.cat((second_BD, negative_MD)).float(), dim=-1)
    logit_BC = (first_BD @ candidate_CD.T / temperature).masked_fill(hidden_BC, float("-inf"))
    target_B = torch.arange(len(first_BD), device=first_BD.device)
    value = F.cross_entropy(logit_BC, target_B)
    if symmetric:
        back_BB = logit_BC[:, : len(first_BD)].T
        value = (value + F.cross_entropy(back_BB, target_B)) / 2
    found_B = logit_BC.detach().argmax(1) == target_B
    return Loss(value, float(found_B.float().mean()))


def distillation(student_BD: Tensor, teacher_BT: Tensor, *, similarity_weight: float) -> Loss:
    """Cosine distance to the teacher, plus the squared error of the batch's similarity matrix.

    Where the two are of different sizes no cosine between them exists, and the similarity matrix
    is all there is.

    Args:
        student_BD: the model's vectors.
        teacher_BT: the teacher's, of any length.
        similarity_weight: of the mean squared error, beside the cosine distance.
    """
    student_BD = F.normalize(student_BD.float(), dim=-1)
    teacher_BT = F.normalize(teacher_BT.float(), dim=-1)
    difference_BB = student_BD @ student_BD.T - teacher_BT @ teacher_BT.T
    similarity = difference_BB.square().mean()
    if student_BD.shape[1] != teacher_BT.shape[1]:
        return Loss(similarity_weight * similarity)
    distance = 1 - (student_BD * teacher_BT).sum(-1).mean()
    return Loss(distance + similarity_weight * similarity)


def nested(
    loss: Callable[[Tensor], Loss], vectors_ND: Tensor, sizes: Sequence[tuple[int, float]]
) -> Loss:
    """A loss over whole vectors and over their beginnings (Matryoshka, arXiv 2205.13147).

    Args:
        loss: of vectors of any length.
        vectors_ND: the whole vectors.
        sizes: how many first components have to do alone, and the weight of that; the whole
            vectors' weight is 1. The sum is divided by all weights.
    """
    whole = loss(vectors_ND)
    total, weights = whole.value, 1.0
    for size, weight in sizes:
        total = total + weight * loss(vectors_ND[:, :size]).value
        weights += weight
    return Loss(total / weights, whole.accuracy)

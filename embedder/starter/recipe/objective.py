"""What is minimised: how far the student's vectors are from saying what the teacher's say.

Legend: `S` texts of a batch, `D` components; all vectors have unit length.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Weights of its terms."""

    similarity: float = 5.0
    """Of the squared error of the batch's similarity matrix."""
    neighbours: float = 0.2
    """Of the Kullback-Leibler divergence of each text's neighbours in the batch."""
    temperature: float = 0.05
    """Of the softmax over a text's similarities to the others."""

    def loss(self, pooled_SD: Tensor, teacher_SD: Tensor) -> Tensor:
        """Mean cosine distance, plus the weighted terms; a number.

        Args:
            pooled_SD: the student's, of any length.
            teacher_SD: the teacher's unit vectors.
        """
        student_SD = F.normalize(pooled_SD.float(), dim=-1)
        distance = 1 - (student_SD * teacher_SD).sum(-1).mean()
        own_SS, taught_SS = student_SD @ student_SD.T, teacher_SD @ teacher_SD.T
        itself_SS = torch.eye(len(own_SS), dtype=torch.bool, device=own_SS.device)
        own_log_SS = (own_SS / self.temperature).masked_fill(itself_SS, -1e4).log_softmax(-1)
        taught_log_SS = (taught_SS / self.temperature).masked_fill(itself_SS, -1e4).log_softmax(-1)
        divergence = F.kl_div(own_log_SS, taught_log_SS, log_target=True, reduction="batchmean")
        return (
            distance
            + self.similarity * (own_SS - taught_SS).square().mean()
            + self.neighbours * divergence
        )

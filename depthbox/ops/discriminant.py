"""Linear discriminants of a few examples in many dimensions."""

import torch
from torch import Tensor

__all__ = ["discriminant"]

SHRINK = 0.4
"""Share of the common covariance that is given up for a multiple of the identity."""


def discriminant(number: Tensor, sums: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Weights "D K" and offsets "K" of the logits x W + b of rows x under Gaussian classes of one covariance, all classes alike likely (Fisher 1936; shrinkage as
    Ledoit and Wolf 2004, but fixed).

    number "K" of examples, their sums "K D", and the sum of their outer products "D D", float64, are all that must be kept of them. With dimensions scaled to
    a deviation of 1, C the covariance within classes and C' = (1 - SHRINK) C + SHRINK mean(diag C) I:

        logit_k = x C'^-1 m_k - m_k C'^-1 m_k / 2.

    A class without examples has a logit of no meaning; without any example all are 0.
    """
    total = number.sum()
    if not total:
        return torch.zeros_like(sums.T), torch.zeros_like(number)
    means, centre = sums / number.clamp(min=1)[:, None], sums.sum(0) / total
    scale = (squares.diagonal() / total - centre.square()).clamp(min=0).sqrt() + 1e-5
    within = (squares - means.T @ (means * number[:, None])) / total / scale / scale[:, None]
    spread = within.diagonal().mean().clamp(min=1e-3)
    shrunk = (1 - SHRINK) * within + SHRINK * spread * torch.eye(len(within), dtype=sums.dtype, device=sums.device)
    means = (means - centre) / scale
    directions = torch.linalg.solve(shrunk, means.T)
    weights = directions / scale[:, None]
    return weights, -centre @ weights - (means.T * directions).sum(0) / 2

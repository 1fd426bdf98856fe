"""Which query answers for which object: the cheapest one-to-one matching of class, pixels and overlap (Mask2Former)."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from depthbox.supervision.config import QueryTermsConfig

__all__ = ["cheapest", "finite", "matching_cost", "pairwise_bce", "pairwise_dice"]

NEVER = 1e6
"""What an infinite cost, or none at all, is taken for: such a pair is matched only where nothing else is left."""


def pairwise_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean BCE over the points of every query "... Q P" with every target "N P" (soft or not): "... Q N"."""
    return (F.softplus(logits).sum(-1, keepdim=True) - logits @ targets.T) / logits.shape[-1]


def pairwise_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - (2 sum pt + 1) / (sum p + sum t + 1) of every query "... Q P" with every target "N P": "... Q N"."""
    p = logits.sigmoid()
    return 1 - (2 * p @ targets.T + 1) / (p.sum(-1, keepdim=True) + targets.sum(-1) + 1)


@torch.no_grad()
def matching_cost(
    class_logits: Tensor, logits: Tensor, labels: Tensor, targets: Tensor, config: QueryTermsConfig
) -> Tensor:
    """cost_bce BCE - cost_class softmax + cost_dice dice of class logits "... Q K+1" and point logits "... Q P", in float32 whatever surrounds it: finite,
    "... Q N"."""
    with torch.autocast(logits.device.type, enabled=False):
        cost = config.cost_bce * pairwise_bce(logits.float(), targets.float())
        cost = cost - config.cost_class * class_logits.float().softmax(-1)[..., labels]
        cost = cost + config.cost_dice * pairwise_dice(logits.float(), targets.float())
    return finite(cost)


def finite(cost: Tensor) -> Tensor:
    """What can be matched whatever has become of the numbers."""
    return torch.nan_to_num(cost, nan=NEVER, posinf=NEVER, neginf=NEVER).clamp(max=NEVER)


def cheapest(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Int64 queries and targets of a cost "Q N" on the CPU, pairwise, in the order of the targets; min(Q, N) pairs."""
    rows, columns = (torch.as_tensor(i) for i in linear_sum_assignment(cost.numpy()))
    order = columns.argsort()
    return rows[order], columns[order]

"""Cross-entropy of every pixel, over the global batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.dist import global_mean
from depthbox.core.shapes import IGNORE

__all__ = ["labelled_cross_entropy", "weighted_cross_entropy"]


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled pixels of all ranks: logits "B K H W", labels "B H W"; IGNORE does not count. 0 where nothing is labelled."""
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return global_mean(total, (labels != IGNORE).sum())


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """`ops.mixing.mixed_cross_entropy` over all ranks: mean over *all* pixels of weight * CE, IGNORE costs 0 and counts; `weight` "B H W" or a scalar.

    `valid` (bool "B H W", None: everywhere) is false on padding, which is no pixel: its labels are IGNORE, and it does not count.
    """
    costs = weight * F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    count = torch.tensor(float(labels.numel()), device=logits.device) if valid is None else valid.sum()
    return global_mean(costs.sum(), count)

"""What true masks say about the masks of a detector's positives."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from depthbox.core.dist import global_mean
from depthbox.ops.masks import dice_loss

__all__ = ["mask_terms"]


def mask_terms(logits: Tensor, targets: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """`mask_dice`: dice of the whole map, mean over instances; `mask_bce`: mean BCE over all in-box pixels of an instance, mean over instances."""
    n = float(len(logits))
    inside = boxes.to(logits.dtype)
    bce = binary_cross_entropy_with_logits(logits, targets, weight=inside, reduction="none").sum((1, 2)) / inside.sum(
        (1, 2)
    ).clamp(min=1)
    return {
        "mask_dice": global_mean(dice_loss(logits.sigmoid(), targets).sum(), n),
        "mask_bce": global_mean(torch.sum(bce), n),
    }

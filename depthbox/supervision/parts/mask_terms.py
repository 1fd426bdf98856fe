"""What true masks say about the masks of a detector's positives."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from depthbox.core.dist import global_mean
from depthbox.ops.masks import dice_loss, widened

__all__ = ["mask_terms"]


def mask_terms(
    logits: Tensor, targets: Tensor, boxes: Tensor, pixel_weights: Tensor | None = None
) -> dict[str, Tensor]:
    """`mask_dice`: dice of the whole map, mean over instances; `mask_bce`: mean BCE over all in-box pixels of an instance, mean over instances.
    `pixel_weights` "N h w" multiply each pixel of the BCE; the mean is still over all of them."""
    n, logits, targets = float(len(logits)), widened(logits), widened(targets)
    inside = boxes.to(logits.dtype)
    weights = inside if pixel_weights is None else inside * pixel_weights
    pixels = binary_cross_entropy_with_logits(logits, targets, weight=weights, reduction="none")
    bce = pixels.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    return {
        "mask_dice": global_mean(dice_loss(logits.sigmoid(), targets).sum(), n),
        "mask_bce": global_mean(bce.sum(), n),
    }

"""The teacher's masks for the labelled boxes, and what the student learns from them (arXiv 2403.01214, self-distillation; BoxTeacher)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.dist import global_mean
from depthbox.ops.masks import dice_loss, widened
from depthbox.ops.pairwise import OFFSETS, agreement, pair
from depthbox.supervision.parts.assignment import Positives

__all__ = ["PseudoMasks", "mask_affinity", "mask_quality", "pseudo_mask", "relief_bce", "targets_of"]


DILATION = 2
"""As published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoMasks:
    """What the teacher says about one image's boxes, kept by *box* index: an unmatched box has confidence 0."""

    masks: Tensor
    """Float "N h w" in 0..1, 0 outside the box."""
    confidence: Tensor
    """Float "N": the weight of the pseudo mask."""


def mask_quality(masks: Tensor) -> Tensor:
    """q: the mean probability over the pixels above 0.5 of "N h w", 0 for a mask without any (BoxTeacher): "N"."""
    masks = widened(masks)
    sure = masks > 0.5
    return (masks * sure).sum((1, 2)) / sure.sum((1, 2)).clamp(min=1)


def targets_of(positives: Positives, pseudo: Sequence[PseudoMasks]) -> tuple[Tensor, Tensor]:
    """Each positive's pseudo mask "N h w" and its confidence "N": looked up by (image, box)."""
    starts = torch.tensor([0, *(len(p.masks) for p in pseudo)], device=positives.image_index.device).cumsum(0)
    owners = starts[positives.image_index] + positives.object_index
    return torch.cat([p.masks for p in pseudo])[owners], torch.cat([p.confidence for p in pseudo])[owners]


def pseudo_mask(logits: Tensor, targets: Tensor, confidence: Tensor) -> Tensor:
    """`pseudo_mask`: c times the dice of sigmoid(logits) and the (soft) pseudo mask, mean over the instances with c > 0."""
    return _mean_over_kept(dice_loss(logits.sigmoid(), targets), confidence)


def relief_bce(logits: Tensor, targets: Tensor, boxes: Tensor, confidence: Tensor) -> Tensor:
    """`relief_bce`: c times the mean BCE of `logits` and the (soft) pseudo mask over the pixels of the box, mean over the instances with c > 0: `mask_bce` for masks that
    nobody drew (ours). Dice alone is content with the right area; this asks every pixel. All maps "N h w", `boxes` bool."""
    logits, targets = widened(logits), widened(targets)
    inside = boxes.to(logits.dtype)
    pixels = F.binary_cross_entropy_with_logits(logits, targets, weight=inside, reduction="none")
    return _mean_over_kept(pixels.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1), confidence)


def mask_affinity(
    logits: Tensor, targets: Tensor, boxes: Tensor, confidence: Tensor, *, valid: Tensor, dilation: int = DILATION
) -> Tensor:
    """`mask_affinity`: neighbours that agree in the smoothed pseudo mask should agree in the mask (BoxTeacher, eq. 6).

    m <- (m + avgpool3(m)) / 2, at the border the mean of the pixels there are (ours: not said); A = m_i m_j + (1 - m_i)(1 - m_j); edges with A >= 0.5 whose first pixel is in the box and whose second is `valid` (no padding). c times the mean over an instance's
    edges, mean over the instances with c > 0. All maps "N h w".
    """
    logits, targets = widened(logits), widened(targets)
    smooth = (targets + F.avg_pool2d(targets[:, None], 3, 1, 1, count_include_pad=False)[:, 0]) / 2
    total, count = logits.new_zeros(len(logits)), logits.new_zeros(len(logits))
    for dy, dx in OFFSETS:
        offset = (dy * dilation, dx * dilation)
        (m_i, m_j), (in_i, in_j), (valid_i, valid_j) = (pair(x, offset) for x in (smooth, boxes, valid))
        directed = (in_i & valid_j).to(logits.dtype) + (in_j & valid_i).to(logits.dtype)
        weight = (m_i * m_j + (1 - m_i) * (1 - m_j) >= 0.5) * directed
        total = total + (weight * agreement(logits, offset)).sum((1, 2))
        count = count + weight.sum((1, 2))
    return _mean_over_kept(total / count.clamp(min=1), confidence)


def _mean_over_kept(values: Tensor, confidence: Tensor) -> Tensor:
    return global_mean((values * confidence).sum(), (confidence > 0).sum())

"""The fully supervised twin: the same detector and masks, taught by true masks (CondInst, Tian et al. 2020)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from depthbox.core.batch import Batch
from depthbox.core.dist import global_mean
from depthbox.core.schedule import Schedule, constant
from depthbox.ops.masks import dice_loss
from depthbox.supervision.config import FullConfig
from depthbox.supervision.method import Losses, Teacherless
from depthbox.supervision.parts.instance_step import instance_step, truth_masks

__all__ = ["Full", "mask_terms"]


class Full(Teacherless):
    """`Method` with masks."""

    def __init__(self, config: FullConfig) -> None:
        self.config = config
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.weights, name)) for name in config.weights.__slots__
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        found = instance_step(
            student, batch, quality=self.config.box_quality, masks_per_image=self.config.masks_per_image
        )
        targets = truth_masks(found.positives, batch.instances).to(found.masks.logits.dtype)
        terms = found.terms | mask_terms(found.masks.logits, targets, found.boxes)
        return Losses(terms=terms, figures={})


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

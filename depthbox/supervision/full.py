"""The fully supervised twin: the same detector and masks, taught by true masks (CondInst, Tian et al. 2020)."""

from collections.abc import Mapping

from torch import nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule, constant
from depthbox.supervision.config import FullConfig
from depthbox.supervision.method import Losses, Teacherless
from depthbox.supervision.parts.instance_step import instance_step
from depthbox.supervision.parts.mask_terms import mask_terms

__all__ = ["Full"]


class Full(Teacherless):
    """`Method` with masks."""

    def __init__(self, config: FullConfig) -> None:
        self.config = config
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.weights, name)) for name in config.weights.__slots__
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        found = instance_step(student, batch.views.strong, batch.instances, masks_per_image=self.config.masks_per_image)
        terms = found.detection(quality=self.config.box_quality)
        terms |= mask_terms(found.masks.logits, found.truth(batch.instances), found.boxes)
        return Losses(terms=terms, figures={})

"""What every detector-based method does first: one forward, and the masks of a bounded number of positives; the detection losses follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from depthbox.core.batch import Instances
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.detector import DenseOutputs
from depthbox.models.dynamic_head import DynamicMasks
from depthbox.models.segmenter import Features
from depthbox.ops.masks import box_masks
from depthbox.supervision.parts.assignment import Positives, assign, spread
from depthbox.supervision.parts.detection_terms import centerness, detection_terms

__all__ = ["InstanceStep", "instance_step", "truth_masks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStep:
    dense: DenseOutputs
    every: Positives
    """All positives; `positives` are some of them."""
    positives: Positives
    """Those with a mask."""
    masks: DynamicMasks
    boxes: Tensor
    """Bool "N h w": each positive's box at stride 4."""

    def detection(self, *, quality: str) -> dict[str, Tensor]:
        """`class_focal`, `box_giou`, `box_quality`."""
        return detection_terms(self.dense, self.every, quality=quality)

    def take(self, rows: Tensor) -> "InstanceStep":
        """The same detections with the masks of some of the positives."""
        depth = None if self.masks.depth is None else self.masks.depth[rows]
        masks = DynamicMasks(logits=self.masks.logits[rows], depth=depth)
        return replace(self, positives=self.positives.take(rows), masks=masks, boxes=self.boxes[rows])

    def truth(self, instances: Sequence[Instances]) -> Tensor:
        """Each positive's true mask in the type of the logits, of `instances` that need masks only where there are positives."""
        masks = truth_masks(self.positives, instances) if len(self.boxes) else self.boxes
        return masks.to(self.masks.logits.dtype)


def instance_step(
    student: nn.Module, images: Tensor, instances: Sequence[Instances], *, masks_per_image: int
) -> InstanceStep:
    """One forward of images "B 3 H W" that hold `instances`; the student is called once, with everything the losses need."""
    features, (every, positives), masks = student(images, lambda said: _pick(said, instances, masks_per_image))
    height, width = images.shape[-2:]
    boxes = box_masks(positives.boxes_xyxy, (height, width), MASK_STRIDE)
    return InstanceStep(dense=features.dense, every=every, positives=positives, masks=masks, boxes=boxes)


def truth_masks(positives: Positives, instances: Sequence[Instances]) -> Tensor:
    """Each positive's true mask at stride 4, sampled like the boxes: bool "N h w"."""
    counts = torch.bincount(positives.image_index, minlength=len(instances)).tolist()
    parts = []
    for owners, objects in zip(positives.object_index.split(counts), instances, strict=True):
        assert objects.masks is not None or not len(owners), "an image whose objects are to be compared carries masks"
        if objects.masks is not None:
            parts.append(objects.masks[owners][:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE])
    return torch.cat(parts)


def _pick(features: Features, instances: Sequence[Instances], masks_per_image: int) -> tuple[Positives, Positives]:
    every = assign(features.dense, instances)
    central = centerness(features.dense.points_xy[every.point_index], every.boxes_xyxy)
    return every, every.take(spread(every, central, per_image=masks_per_image))

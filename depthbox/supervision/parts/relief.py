"""Pseudo masks from depth alone: what stands out of the surface around each labelled box (ours, `depthbox.ops.relief`)."""

from collections.abc import Sequence

import torch

from depthbox.core.batch import Instances, Views
from depthbox.core.shapes import MASK_STRIDE
from depthbox.ops.masks import box_masks
from depthbox.ops.relief import relief_masks
from depthbox.supervision.parts.box_terms import at_masks
from depthbox.supervision.parts.pseudo_masks import PseudoMasks

__all__ = ["relief_targets", "sampled_disparity"]


@torch.no_grad()
def relief_targets(views: Views, instances: Sequence[Instances], *, share: float = 0.0) -> list[PseudoMasks]:
    """For each image the soft masks of its boxes and their trust as confidence."""
    size_hw = (views.weak.shape[-2], views.weak.shape[-1])
    found = []
    for disparity, objects in zip(sampled_disparity(views), instances, strict=True):
        inside = box_masks(objects.boxes_xyxy, size_hw, MASK_STRIDE)
        masks, trust = relief_masks(disparity, objects.boxes_xyxy, inside, stride=MASK_STRIDE, share=share)
        found.append(PseudoMasks(masks=masks, confidence=trust))
    return found


def sampled_disparity(views: Views) -> torch.Tensor:
    """Disparity "B h w" at the pixels where masks are sampled, NaN where unknown or padded: an average over a cell would blur the very step that is
    looked for."""
    assert views.disparity is not None
    return at_masks(views.disparity[:, 0]).masked_fill(~at_masks(views.valid), torch.nan)

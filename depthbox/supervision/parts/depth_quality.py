"""Disparity as a third opinion on a pseudo mask: how good it is, and (ours) where it should end."""

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, masks_to_boxes

from depthbox.core.batch import Views
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.query_predict import boxes_of
from depthbox.ops.masks import box_masks
from depthbox.ops.relief import Relief, relief_of
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.matching import depth_agreement, depth_known, right_similarity
from depthbox.supervision.parts.pseudo_labels import PseudoLabels, full_size
from depthbox.supervision.parts.relief import sampled_disparity

__all__ = ["checked_by_depth", "depth_quality", "refined", "relief_quality"]

SHARE = 0.2
"""Of the highest neighbour, below which a cell is the foot of a step (`relief_of`)."""
REACH = 0.15
"""How far around its box a mask may grow, as a share of the box's sides."""
SURE = 3.0
"""A teacher's logit counts as much as disparity can at most."""


def checked_by_depth(kept: PseudoLabels, views: Views, image: int, config: PlDcConfig) -> PseudoLabels:
    """Those of an image whose quality by `config.depth_form` reaches the threshold, or of which nothing is known; with `depth_refine` as disparity
    corrects them. A and B are S_dmatch; relief (ours) is the IoU of the mask and what stands out of the surface around its box."""
    if config.depth_form != "off" and len(kept.labels):
        kept = kept.taken(_good(kept, views, image, config).nonzero()[:, 0])
    return refined(kept, sampled_disparity(views)[image]) if config.depth_refine and len(kept.labels) else kept


def _good(kept: PseudoLabels, views: Views, image: int, config: PlDcConfig) -> Tensor:
    if config.depth_form == "relief":
        quality, known = relief_quality(kept, sampled_disparity(views)[image])
    else:
        assert views.disparity is not None
        one, size_hw = slice(image, image + 1), (views.weak.shape[-2], views.weak.shape[-1])
        similarity = right_similarity(views.disparity[one], views.valid[one], theta=config.depth_theta)[0]
        quality = depth_quality(kept.logits, similarity, size_hw, form=config.depth_form)
        known = depth_known(kept.logits > 0, similarity)
    return (quality >= config.depth_threshold) | ~known


def depth_quality(logits: Tensor, similarity: Tensor, size_hw: tuple[int, int], *, form: str) -> Tensor:
    """S_dmatch of every mask "N h w" with its own box: "N" in 0..1. `similarity` "h w" as `right_similarity` gives it."""
    boxes = box_masks(boxes_of(logits > 0, size_hw), size_hw, MASK_STRIDE)
    return depth_agreement(logits.sigmoid(), boxes, similarity, form="A" if form == "A" else "B").diagonal()


def relief_quality(kept: PseudoLabels, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of each mask [m > 0] with what stands out in its box, "N" in 0..1, over the cells whose `disparity` "h w" is known; and whether it has any, and a
    background: bool "N". What masks share belongs to one of them, by disparity, so doubles must be gone. Flat things (a rug, a window) stand out of nothing."""
    relief, _ = _relief(kept, disparity, reach=0.0)
    mask = (kept.logits > 0) & disparity.isfinite()
    return _iou(mask, relief.stands_out), relief.known & mask.flatten(1).any(1)


def refined(kept: PseudoLabels, disparity: Tensor) -> PseudoLabels:
    """In its box and `REACH` around it a mask gains what stands out and loses what does not, the more it agrees with the relief already:

        m' = clip(m, -SURE, SURE) + a * signs,  a = IoU(m > 0, stands out),

    in cells whose disparity is known, of masks that agree at all. The box of a detection becomes that of its corrected mask. A mask that would lose its last
    pixel stays.
    """
    relief, inside = _relief(kept, disparity, reach=REACH)
    known = disparity.isfinite()
    agreement = _iou((kept.logits > 0) & inside & known, relief.stands_out) * relief.known
    told = inside & known & (agreement > 0)[:, None, None]
    signs = agreement[:, None, None] * relief.signs
    better = replace(kept, logits=torch.where(told, kept.logits.clamp(-SURE, SURE) + signs, kept.logits))
    changed = (agreement > 0) & full_size(better).flatten(1).any(1)
    better = replace(kept, logits=torch.where(changed[:, None, None], better.logits, kept.logits))
    return better if kept.boxes_xyxy is None else _boxed(better, changed)


def _boxed(kept: PseudoLabels, changed: Tensor) -> PseudoLabels:
    """With the tight boxes, in pixels, of the masks that were `changed`."""
    assert kept.boxes_xyxy is not None
    boxes = kept.boxes_xyxy.clone()
    tight = masks_to_boxes(full_size(kept.taken(changed.nonzero()[:, 0])))
    boxes[changed] = tight + tight.new_tensor([0, 0, 1, 1])
    return replace(kept, boxes_xyxy=boxes)


def _relief(kept: PseudoLabels, disparity: Tensor, *, reach: float) -> tuple[Relief, Tensor]:
    """Of the boxes with `reach` around them, and these as masks."""
    size_hw = (MASK_STRIDE * disparity.shape[-2], MASK_STRIDE * disparity.shape[-1])
    boxes = boxes_of(kept.logits > 0, size_hw) if kept.boxes_xyxy is None else kept.boxes_xyxy
    sides = reach * (boxes[:, 2:] - boxes[:, :2])
    boxes = clip_boxes_to_image(torch.cat((boxes[:, :2] - sides, boxes[:, 2:] + sides), 1), size_hw)
    inside = box_masks(boxes, size_hw, MASK_STRIDE)
    return relief_of(disparity, boxes, inside, stride=MASK_STRIDE, share=SHARE), inside


def _iou(one: Tensor, other: Tensor) -> Tensor:
    """Of pairs of bool masks "N h w": "N"."""
    return (one & other).flatten(1).sum(1) / (one | other).flatten(1).sum(1).clamp(min=1)

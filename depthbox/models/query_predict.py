"""Queries -> instances: the best (query, class) pairs, a score that counts how sure the mask is, boxes from masks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.config import InferenceConfig
from depthbox.models.predictions import ImagePredictions
from depthbox.models.query_head import QueryOutputs
from depthbox.ops.masks import aligned_spans

__all__ = [
    "QueryPairs",
    "best_pairs",
    "boxes_of",
    "mask_iou",
    "mask_quality",
    "on_mask_cells",
    "pixel_boxes",
    "query_predictions",
    "without_doubles",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPairs:
    """The likeliest entries of an image's table of queries and classes, best first."""

    query: Tensor
    """Int64 "N"."""
    labels: Tensor
    """Int64 "N", never "no object"."""
    class_quality: Tensor
    """Softmax probability "N"; of a detector its score."""
    mask_quality: Tensor
    """Float "N" in 0..1."""
    logits: Tensor
    """Mask logits "N h w" at stride 4."""
    boxes_xyxy: Tensor | None = None
    """A detector's "N 4", whose mask cells lie on the pixel 4 c + 2; None: of queries, whose cells lie on that pixel's edge."""


def best_pairs(class_logits: Tensor, masks: Tensor, *, top: int) -> QueryPairs:
    """The `top` likeliest pairs of class logits "Q K+1" and mask logits "Q h w" (Mask2Former's instance inference)."""
    table = class_logits.softmax(-1)[:, :-1]
    quality, at = table.flatten().topk(min(top, table.numel()))
    query, labels = at // table.shape[1], at % table.shape[1]
    return QueryPairs(
        query=query, labels=labels, class_quality=quality, mask_quality=mask_quality(masks)[query], logits=masks[query]
    )


def mask_quality(logits: Tensor) -> Tensor:
    """The mean probability inside the mask: sum(sigmoid(m) M) / (sum M + 1e-6), M = [m > 0], of "N h w": "N"."""
    logits = logits.float()
    inside = logits > 0
    return (logits.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)


@torch.no_grad()
def query_predictions(
    outputs: QueryOutputs, size_hw: tuple[int, int], config: InferenceConfig
) -> list[ImagePredictions]:
    """One record an image: score = class probability * mask quality; masks without a pixel are left out."""
    return [
        _one(best_pairs(classes, masks, top=config.top), size_hw, config)
        for classes, masks in zip(outputs.class_logits[-1], outputs.masks[-1], strict=True)
    ]


def _one(pairs: QueryPairs, size_hw: tuple[int, int], config: InferenceConfig) -> ImagePredictions:
    logits = on_mask_cells(pairs.logits)
    scores = pairs.class_quality * pairs.mask_quality
    kept = (logits.flatten(1) > 0).any(1) & (scores > config.min_score)
    order = scores[kept].argsort(descending=True, stable=True)
    logits, scores, labels = logits[kept][order], scores[kept][order], pairs.labels[kept][order]
    if config.mask_nms_iou < 1:
        alone = without_doubles(logits > 0, config.mask_nms_iou, labels=labels)
        logits, scores, labels = logits[alone], scores[alone], labels[alone]
    masks = logits.sigmoid()
    return ImagePredictions(boxes_xyxy=pixel_boxes(masks, size_hw), scores=scores, labels=labels, masks=masks)


def pixel_boxes(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The boxes of probabilities "N h w" as they are pasted into the photo: cells of four pixels would cost small objects their box."""
    rows, columns = aligned_spans(masks[:, None], MASK_STRIDE)
    return _boxes(rows[:, 0] > 0.5, columns[:, 0] > 0.5, size_hw, stride=1)


def boxes_of(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """The tight boxes, in pixels, of bool masks "N h w" at stride 4; 0 0 0 0 where a mask has no cell."""
    return _boxes(masks.any(2), masks.any(1), size_hw, stride=MASK_STRIDE)


def _boxes(rows: Tensor, columns: Tensor, size_hw: tuple[int, int], *, stride: int) -> Tensor:
    """Of the rows "N h" and columns "N w" that each mask has a cell in."""
    sides = []
    for held, length in ((rows, size_hw[0]), (columns, size_hw[1])):
        first = held.int().argmax(1)
        last = held.shape[1] - held.flip(1).int().argmax(1)
        there = held.any(1)
        sides.append((first * there * stride, (last * there * stride).clamp(max=length)))
    (y0, y1), (x0, x1) = sides
    return torch.stack((x0, y0, x1, y1), 1).float()


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of every bool mask "N h w" with every "M h w": "N M"; 0 where both are empty."""
    a, b = a.flatten(1).float(), b.flatten(1).float()
    shared = a @ b.T
    return shared / (a.sum(1)[:, None] + b.sum(1) - shared).clamp(min=1e-6)


def without_doubles(masks: Tensor, iou: float, *, labels: Tensor | None = None) -> Tensor:
    """Non-maximum suppression by mask, with `labels` within a class; masks come best first. Int64 indices that stay."""
    doubles = mask_iou(masks, masks) > iou
    if labels is not None:
        doubles &= labels[:, None] == labels
    kept: list[int] = []
    for i in range(len(masks)):
        if not doubles[i, kept].any():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64, device=masks.device)


def on_mask_cells(logits: Tensor) -> Tensor:
    """From cells on the pixel edge 4 c + 2 to cells on the pixel 4 c + 2, half a pixel further, where `paste` and all other masks have them."""
    for axis in (-2, -1):
        length = logits.shape[axis]
        neighbour = logits.narrow(axis, 1, length - 1)
        neighbour = torch.cat((neighbour, logits.narrow(axis, length - 1, 1)), axis)
        logits = torch.lerp(logits, neighbour, 0.5 / MASK_STRIDE)
    return logits

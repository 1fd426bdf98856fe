"""The masks that a network offers for given boxes, whatever its head."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou

from depthbox.inference.config import Matching
from depthbox.models.detector import LEVEL_STRIDES
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.query_predict import mask_quality, on_mask_cells, pixel_boxes
from depthbox.models.segmenter import Model, Segmenter

__all__ = ["Candidates", "Photograph", "candidates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One photo as the network sees it, with what is known of it."""

    images: Tensor
    """Float "1 3 H W"."""
    valid: Tensor
    """Bool "1 H W": False on padding."""
    boxes_xyxy: Tensor
    """Float "N 4", its pixels."""
    labels: Tensor
    """Int64 "N": the network's class of each box, -1 where it has none."""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.images.shape[-2], self.images.shape[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """M masks for N boxes."""

    masks: Tensor
    """Probabilities "M h w" at stride 4."""
    boxes_xyxy: Tensor
    """Float "M 4": how far each says it reaches, by its detected box, or where there is none by its mask."""
    scores: Tensor
    """Float "N M": the detection score of each for each box's class."""
    allowed: Tensor
    """Bool "N M": the `Matching.candidates` that fit a box best without depth."""


def candidates(model: Model, seen: Photograph, matching: Matching) -> Candidates:
    """What the network offers for the boxes of one photo."""
    if isinstance(model, QuerySegmenter):
        return _of_queries(model, seen, matching.candidates)
    return _of_locations(model, seen, matching.candidates)


def _of_locations(model: Segmenter, seen: Photograph, number: int) -> Candidates:
    """The locations that stand inside a box and fit it best; for a box that holds none, the nearest ones. Only theirs are the masks asked for."""
    boxes, features = seen.boxes_xyxy, model(seen.images)
    classes, quality = features.dense.class_logits[0].sigmoid(), features.dense.quality_logits[0].sigmoid()
    scores = _of_class((classes * quality[:, None]).sqrt(), seen.labels)
    points, detected = features.dense.points_xy, features.dense.boxes_xyxy[0]
    inside = ((points[None] > boxes[:, None, :2]) & (points[None] < boxes[:, None, 2:])).all(-1)
    fit = generalized_box_iou(boxes, detected) + scores
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    far = torch.cdist(centers, points) / LEVEL_STRIDES[-1]
    own = torch.where(inside, fit, -3 - far).topk(min(number, len(points))).indices
    chosen, place = own.unique(return_inverse=True)
    masks = model.masks(features, torch.zeros_like(chosen), chosen).logits.sigmoid()
    return Candidates(
        masks=masks,
        boxes_xyxy=detected[chosen],
        scores=scores[:, chosen],
        allowed=_at(place, len(chosen)),
    )


def _of_queries(model: QuerySegmenter, seen: Photograph, number: int) -> Candidates:
    """The queries whose masks reach as far as a box, and are of its class."""
    outputs = model(seen.images, seen.valid)
    logits = outputs.masks[-1, 0]
    masks = on_mask_cells(logits).sigmoid()
    table = outputs.class_logits[-1, 0].softmax(-1)[:, :-1] * mask_quality(logits)[:, None]
    scores, own = _of_class(table, seen.labels), pixel_boxes(masks, seen.size_hw)
    fit = generalized_box_iou(seen.boxes_xyxy, own) + scores
    best = fit.topk(min(number, len(masks))).indices
    return Candidates(masks=masks, boxes_xyxy=own, scores=scores, allowed=_at(best, len(masks)))


def _of_class(table: Tensor, labels: Tensor) -> Tensor:
    """Scores "M K" for the class of each box, the likeliest class for an unknown one: "N M"."""
    return torch.where(labels[:, None] >= 0, table.T[labels.clamp(min=0)], table.amax(1)[None])


def _at(places: Tensor, number: int) -> Tensor:
    """Indices "N c" as bool "N number"."""
    return torch.zeros(len(places), number, dtype=torch.bool, device=places.device).scatter(1, places, True)

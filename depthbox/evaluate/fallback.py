"""COCO box average precision in plain numpy, for a machine without faster_coco_eval (a bare GPU box).

The rules of pycocotools: IoU 0.50:0.05:0.95, 101 recall points, at most 100 detections an image and class, crowds
ignored, objects of every size. Equal to it within 1e-6 (tests/evaluate/test_instance.py).
"""

from collections.abc import Sequence

import numpy as np

from depthbox.data.schema import CocoData, Detections, ImageRecord

__all__ = ["IOU_THRESHOLDS", "MAX_DETECTIONS", "RECALLS", "box_precision"]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100


def box_precision(data: CocoData, detections: Sequence[Detections]) -> np.ndarray:
    """Interpolated precision of boxes, float64 (10 IoU thresholds, 101 recalls, K); -1: a class without objects."""
    found = {one.image_id: one for one in detections}
    shape = (len(IOU_THRESHOLDS), len(RECALLS), len(data.category_ids))
    precision = np.full(shape, -1.0)
    for label in range(shape[2]):
        object_count = sum(int(((record.labels == label) & ~record.crowd).sum()) for record in data.records)
        if object_count:
            images = [_match_image(r, found[r.image_id], label) for r in data.records if r.image_id in found]
            precision[:, :, label] = _interpolated(images, object_count)
    return precision


def _match_image(record: ImageRecord, found: Detections, label: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (D,), hit (T, D) and ignored (T, D) of the best detections of one class, best first."""
    chosen = np.flatnonzero(found.labels == label)
    chosen = chosen[np.argsort(-found.scores[chosen], kind="stable")][:MAX_DETECTIONS]
    wanted = record.labels == label
    objects, crowds = record.boxes_xyxy[wanted & ~record.crowd], record.boxes_xyxy[wanted & record.crowd]
    boxes = found.boxes_xyxy[chosen]
    hit = _greedy_hits(_iou(boxes, objects, crowd=False))
    in_crowd = _iou(boxes, crowds, crowd=True).max(axis=1, initial=0.0)
    return found.scores[chosen], hit, ~hit & (in_crowd[None] >= IOU_THRESHOLDS[:, None])


def _greedy_hits(iou: np.ndarray) -> np.ndarray:
    """Bool (T, D) from IoU (D, G), best first: each takes the free object it overlaps most, in a tie the last."""
    hit = np.zeros((len(IOU_THRESHOLDS), iou.shape[0]), dtype=bool)
    free = np.ones((len(IOU_THRESHOLDS), iou.shape[1]), dtype=bool)
    for detection in range(iou.shape[0] if iou.shape[1] else 0):
        reachable = np.where(free & (iou[detection] >= IOU_THRESHOLDS[:, None]), iou[detection], -1.0)
        best = iou.shape[1] - 1 - reachable[:, ::-1].argmax(axis=1)
        hit[:, detection] = reachable.max(axis=1) >= 0.0
        free[hit[:, detection], best[hit[:, detection]]] = False
    return hit


def _iou(boxes: np.ndarray, truth: np.ndarray, *, crowd: bool) -> np.ndarray:
    """Float64 (D, G). For a crowd the union is the detection alone: a part of a crowd lies wholly in it."""
    first, second = boxes.astype(np.float64)[:, None], truth.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    overlap = sides.clip(min=0.0).prod(axis=-1)
    area, truth_area = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (first, second))
    union = area + (0.0 if crowd else truth_area - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def _interpolated(images: list[tuple[np.ndarray, np.ndarray, np.ndarray]], object_count: int) -> np.ndarray:
    """Precision (T, 101): at each recall the best precision at that recall or above, 0 where it is never reached."""
    curve = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
    if not images:
        return curve
    order = np.argsort(-np.concatenate([scores for scores, _, _ in images]), kind="stable")
    hit = np.concatenate([hit for _, hit, _ in images], axis=1)[:, order]
    ignored = np.concatenate([ignored for _, _, ignored in images], axis=1)[:, order]
    true, false = hit.cumsum(axis=1), (~hit & ~ignored).cumsum(axis=1)
    precision = true / np.maximum(true + false, np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for row in range(len(IOU_THRESHOLDS)):
        place = np.searchsorted(true[row] / object_count, RECALLS, side="left")
        reached = place < len(order)
        curve[row, reached] = envelope[row, place[reached]]
    return curve

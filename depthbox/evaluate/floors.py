"""The floor any mask must beat: the box itself, and the ellipse inscribed in it, taken as the mask.

A row of a result table replaces the masks of the very detections that the model made, so boxes, scores and classes, and
with them box AP, stay what they were: only the shape differs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from depthbox.data.schema import CocoData, Detections
from depthbox.evaluate.instance import to_rle

__all__ = ["box_as_mask", "box_outlines", "inscribed_ellipse", "mean_iou_of_boxes"]

Shape = Literal["box", "ellipse"]
_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
_ANGLES = np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)
_OUTLINES = {"box": _CORNERS, "ellipse": np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)}
"""Each shape in the square from -1 to 1, as points (P, 2); 96 points hold 99.9 % of the area of an ellipse."""


def box_as_mask(detections: Sequence[Detections], data: CocoData) -> list[Detections]:
    """The same detections, each mask the whole box."""
    return _with_shape(detections, data, "box")


def inscribed_ellipse(detections: Sequence[Detections], data: CocoData) -> list[Detections]:
    """The same detections, each mask the ellipse that touches the four sides of the box."""
    return _with_shape(detections, data, "ellipse")


def mean_iou_of_boxes(data: CocoData, shape: Shape = "box") -> float:
    """Mean IoU of `shape`, drawn into the true boxes, with the true masks of objects outside crowds; NaN if none."""
    from pycocotools import mask

    ious: list[float] = []
    for record in data.records:
        usable = [i for i, truth in enumerate(record.segmentations) if truth is not None and not record.crowd[i]]
        if usable:
            drawn = _rles(record.boxes_xyxy[usable], record.size_hw, shape)
            truths = [to_rle(record.segmentations[i], record.size_hw) for i in usable]
            ious.extend(mask.iou(drawn, truths, [0] * len(usable)).diagonal().tolist())
    return float(np.mean(ious)) if ious else float("nan")


def box_outlines(boxes_xyxy: np.ndarray, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """The boxes "N 4" as compressed RLEs."""
    return _rles(boxes_xyxy, size_hw, "box")


def _with_shape(detections: Sequence[Detections], data: CocoData, shape: Shape) -> list[Detections]:
    sizes = {record.image_id: record.size_hw for record in data.records}
    return [replace(one, masks=tuple(_rles(one.boxes_xyxy, sizes[one.image_id], shape))) for one in detections]


def _rles(boxes_xyxy: np.ndarray, size_hw: tuple[int, int], shape: Shape) -> list[dict[str, Any]]:
    if not len(boxes_xyxy):
        return []
    from pycocotools import mask

    height, width = size_hw
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    points = centre[:, None] + half[:, None] * _OUTLINES[shape]
    outlines = points.clip(0, [width, height]).reshape(len(boxes), -1).tolist()
    return [
        {"size": rle["size"], "counts": rle["counts"].decode("ascii")}
        for rle in mask.frPyObjects(outlines, height, width)
    ]

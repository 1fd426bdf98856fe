"""Detections as COCO's results format."""

from collections.abc import Sequence

from depthbox.data.schema import Detections

__all__ = ["coco_results"]


def coco_results(detections: Sequence[Detections], category_ids: Sequence[int]) -> list[dict]:
    """One object each: xywh boxes, category ids of the data set, a compressed RLE where there are masks."""
    rows = []
    for one in detections:
        for i, (x0, y0, x1, y1) in enumerate(one.boxes_xyxy.tolist()):
            row = {
                "image_id": one.image_id,
                "category_id": category_ids[int(one.labels[i])],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(one.scores[i]),
            }
            rows.append(row | ({"segmentation": one.masks[i]} if one.masks is not None else {}))
    return rows

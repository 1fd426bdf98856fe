"""How good are boxes and masks: COCO average precision by faster_coco_eval, each validation image counted once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate.fallback import box_precision

__all__ = ["Scores", "merge", "score", "to_rle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What `score` found. Values are in 0..1, NaN where there was nothing to score."""

    values: dict[str, float]
    note: str
    """Why masks were not scored, in words; empty where they were."""

    def beside(self, other: "Scores") -> "Scores":
        """These, and those of another scorer."""
        return Scores(values=self.values | other.values, note="; ".join(filter(None, (self.note, other.note))))


def score(data: CocoData, detections: Sequence[Detections]) -> Scores:
    """Box and mask average precision of `detections` on `data`, as pycocotools counts them.

    Values: `box_ap` (mean over IoU 0.50:0.05:0.95), `box_ap50`, `box_ap75`; with masks also `mask_ap`, `mask_ap50`,
    `mask_ap75`, `mask_iou` and `mask_ap/<class>` (without masks `box_ap/<class>`). `mask_iou` is the mean over all
    objects outside crowds of the largest IoU with a detection of the same class in the same image, whatever its score
    (0 where there is none; of an image and class the best 100 detections count, as everywhere).

    An image without an entry in `detections` counts as one where nothing was found: `merge` finds a forgotten one.
    Masks are left out, and `note` says why, where the truth or the detections have none or faster_coco_eval is missing.
    Raises ValueError for an image scored twice, one that `data` lacks, or a mask of another size than its image.
    """
    _check(data, detections)
    if all(record.crowd.all() for record in data.records):
        nothing = np.full((10, 101, len(data.category_ids)), -1.0)
        return Scores(
            values=_summary(data, nothing, "box"),
            note=f"{data.source} holds no object outside crowds: nothing was scored",
        )
    if (missing := _missing_library()) is not None:
        values = _summary(data, box_precision(data, detections), "box")
        return Scores(values=values, note=f"masks were not scored: {missing} is not installed; box AP by numpy")
    box, _ = _faster_precision(data, detections, "bbox")
    values = _summary(data, box, "box")
    if reason := _why_no_masks(data, detections):
        return Scores(values=values, note=f"masks were not scored: {reason}")
    mask, mask_iou = _faster_precision(data, detections, "segm")
    values = {key: value for key, value in values.items() if "/" not in key}
    return Scores(values=_summary(data, mask, "mask") | {"mask_iou": mask_iou} | values, note="")


def merge(shards: Iterable[Sequence[Detections]], *, image_ids: Iterable[int]) -> list[Detections]:
    """The shards of all workers as one list, each of `image_ids` once and in ascending order (fault F23).

    An uneven split is padded by repeating images: of repeated images the first is kept. Raises ValueError where one of
    `image_ids` (those that had to be scored) is in no shard, or a shard holds an image that is not among them.
    """
    found: dict[int, Detections] = {}
    for shard in shards:
        for one in shard:
            found.setdefault(one.image_id, one)
    expected = set(image_ids)
    for problem, ids in (
        ("was scored by no worker", expected - found.keys()),
        ("is not to be scored", found.keys() - expected),
    ):
        if ids:
            more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
            raise ValueError(
                f"evaluation: image {min(ids)}{more} {problem}; each of {len(expected)} images counts once"
            )
    return [found[image_id] for image_id in sorted(found)]


def to_rle(segmentation: object, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Polygons or a compressed RLE as one compressed RLE {"size": [h, w], "counts": str}, by pycocotools."""
    from pycocotools import mask

    rle: Any = mask.merge(mask.frPyObjects(segmentation, *size_hw)) if isinstance(segmentation, list) else segmentation
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _check(data: CocoData, detections: Sequence[Detections]) -> None:
    sizes = {record.image_id: record.size_hw for record in data.records}
    for image_id, times in Counter(one.image_id for one in detections).items():
        if times > 1 or image_id not in sizes:
            what = f"is scored {times} times" if times > 1 else f"is not in {data.source}"
            raise ValueError(f"evaluation: image {image_id} {what}; join the shards of the workers with merge()")
    for one in detections:
        for rle in one.masks or ():
            if tuple(rle["size"]) != tuple(sizes[one.image_id]):
                raise ValueError(
                    f"evaluation: image {one.image_id} is {sizes[one.image_id]} (h, w), its mask {rle['size']}"
                )


def _missing_library() -> str | None:
    for name in ("faster_coco_eval", "pycocotools"):
        try:
            import_module(name)
        except ImportError:
            return name
    return None


def _why_no_masks(data: CocoData, detections: Sequence[Detections]) -> str:
    if not data.has_masks:
        return f"an object of {data.source} has no usable mask"
    if any(one.masks is None and len(one.scores) for one in detections):
        return "the detections are boxes only"
    return ""


def _summary(data: CocoData, precision: np.ndarray, kind: Literal["box", "mask"]) -> dict[str, float]:
    """AP over all thresholds, at 0.50 (row 0), at 0.75 (row 5) and of each class; cells of -1 hold no object."""
    values = {
        f"{kind}_ap{suffix}": _mean(precision[rows]) for suffix, rows in (("", slice(None)), ("50", 0), ("75", 5))
    }
    repeated = {name for name, times in Counter(data.class_names).items() if times > 1}
    for label, (name, category_id) in enumerate(zip(data.class_names, data.category_ids, strict=True)):
        unique = f"{name} {category_id}" if name in repeated else name
        values[f"{kind}_ap/{unique}"] = _mean(precision[:, :, label])
    return values


def _mean(precision: np.ndarray) -> float:
    counted = precision[precision > -1]
    return float(counted.mean()) if counted.size else float("nan")


def _faster_precision(
    data: CocoData, detections: Sequence[Detections], kind: Literal["bbox", "segm"]
) -> tuple[np.ndarray, float]:
    """Precision (10, 101, K) like `fallback.box_precision`, and the mean best IoU of the objects."""
    from faster_coco_eval import COCO, COCOeval_faster

    images = [{"id": r.image_id, "height": r.size_hw[0], "width": r.size_hw[1]} for r in data.records]
    head = {"images": images, "categories": [{"id": i, "name": str(i)} for i in data.category_ids]}
    truth = COCO({**head, "annotations": _numbered(_truth(record, data, kind) for record in data.records)})
    found = COCO({**head, "annotations": _numbered(_found(one, data, kind) for one in detections)})
    evaluator = COCOeval_faster(truth, found, iouType=kind, print_function=_silent)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1], _mean_best_iou(data, evaluator.ious)


def _silent(*_: object) -> None:
    return None


def _numbered(groups: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Ids count from 1, for COCO evaluation reads a match with 0 as no match."""
    return [{"id": number, **one} for number, one in enumerate((one for group in groups for one in group), start=1)]


def _truth(record: ImageRecord, data: CocoData, kind: str) -> list[dict[str, Any]]:
    annotations = _boxes(record.image_id, record.boxes_xyxy, [data.category_ids[label] for label in record.labels])
    for annotation, crowd, segmentation in zip(annotations, record.crowd, record.segmentations, strict=True):
        annotation["iscrowd"] = int(crowd)
        if kind == "segm":  # only a crowd may lack its mask here: its box is then the region to ignore
            x, y, w, h = annotation["bbox"]
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotation["segmentation"] = to_rle(outline if segmentation is None else segmentation, record.size_hw)
    return annotations


def _found(one: Detections, data: CocoData, kind: str) -> list[dict[str, Any]]:
    annotations = _boxes(one.image_id, one.boxes_xyxy, [data.category_ids[label] for label in one.labels])
    for index, (annotation, confidence) in enumerate(zip(annotations, one.scores, strict=True)):
        annotation["score"] = float(confidence)
        if kind == "segm":
            assert one.masks is not None
            annotation["segmentation"] = dict(one.masks[index])
    return annotations


def _boxes(image_id: int, boxes_xyxy: np.ndarray, category_ids: list[int]) -> list[dict[str, Any]]:
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return [
        {"image_id": image_id, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for category, box in zip(category_ids, xywh, strict=True)
    ]


def _mean_best_iou(data: CocoData, ious: dict[tuple[int, int], np.ndarray]) -> float:
    """`ious` holds detections x objects, in the order of the record, for each (image, category)."""
    total, count = 0.0, 0
    for record in data.records:
        count += int((~record.crowd).sum())
        for label in np.unique(record.labels):
            overlaps = np.asarray(ious[record.image_id, data.category_ids[label]])
            if overlaps.size:
                total += float(overlaps.max(axis=0)[~record.crowd[record.labels == label]].sum())
    return total / count

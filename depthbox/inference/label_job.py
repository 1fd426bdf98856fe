"""A COCO file with boxes -> the same file with a mask for every box. The same call again goes on where it was killed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, Decoded, checked_segmentation, decode_record
from depthbox.data.quarantine import DecodeGuard
from depthbox.data.schema import CocoData, ImageRecord
from depthbox.depth.cache import DisparityCache
from depthbox.depth.estimator import DepthEstimator
from depthbox.evaluate.floors import box_outlines
from depthbox.evaluate.instance import to_rle
from depthbox.inference.config import Matching
from depthbox.inference.journal import Journal
from depthbox.inference.label import Boxes, BoxMask, masks_of_boxes
from depthbox.inference.photos import ahead
from depthbox.inference.predict_job import write_json
from depthbox.inference.predictor import InstancePredictor

__all__ = ["Labeller", "Labels", "label_boxes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeller:
    """What turns one photo's boxes into masks."""

    predictor: InstancePredictor
    matching: Matching
    labels: tuple[int, ...]
    """Of the boxes' classes, in their order: the model's class of that name, -1 for none."""
    estimator: DepthEstimator | None
    cache: DisparityCache
    guard_folder: str

    def read(self, record: ImageRecord) -> Decoded | str:
        """The photo, or in words why it cannot be read."""
        views = self.predictor.views
        try:
            with DecodeGuard(self.guard_folder).watching(record.path):
                return decode_record(record, short_side=views.short_side, max_side=views.max_side)
        except BadImage as error:
            return error.reason

    def row(self, record: ImageRecord, read: Decoded | str) -> dict:
        """For the journal: a mask with its figures for each box outside crowds, by annotation id; or `bad`, why the photo was set aside."""
        if isinstance(read, str):
            return {"bad": read, "path": record.path}
        disparity, trouble = self._disparity(record, read)
        kept = np.flatnonzero(~record.crowd)
        known = Boxes(
            boxes_xyxy=record.boxes_xyxy[kept],
            labels=np.array(self.labels, np.int64)[record.labels[kept]],
            disparity=disparity,
        )
        masks = masks_of_boxes(self.predictor, read, known, self.matching)
        ids = record.annotation_ids[kept].tolist()
        made = {str(i): _annotated(one, record.size_hw) for i, one in zip(ids, masks, strict=True)}
        return {"masks": made} | ({"no_depth": trouble} if trouble else {})

    def _disparity(self, record: ImageRecord, photo: Decoded) -> tuple[np.ndarray | None, str]:
        """A photo whose depth cannot be had is labelled without it."""
        if self.estimator is None:
            return None, ""
        (found,) = self.cache.look_up([photo.image], [photo.digest], [record.path], self.estimator)
        return found.disparity, str(found.fault or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What `label_boxes` wrote."""

    file: Path
    coco: dict
    masks: int
    done_before: int
    """Photos."""
    without_depth: int
    """Photos."""
    quarantined: list[dict]


def label_boxes(data: CocoData, out: Path, labeller: Labeller, *, job: Mapping[str, object]) -> Labels:
    """Write `out`: the file that `data` was read from, with `segmentation`, `area` and `attributes` for every box outside crowds.

    Ids, boxes, order and whatever else stands there stay. A photo that cannot be read leaves the file together with its boxes (an image without its
    objects would teach that nothing is there) and is listed beside it. Raises `InputError` where not one photo could be read.
    """
    source = json.loads(Path(data.source).read_bytes().decode("utf-8-sig"))
    crowds = _crowd_masks(data, source)
    journal = Journal(_beside(out, "progress.jsonl"), job=job, remedy="give another --out, or remove that file")
    wanted = [record for record in data.records if not record.crowd.all()]
    waiting = [record for record in wanted if str(record.image_id) not in journal.rows]
    try:
        quarantined = []
        for record, row in _rows(waiting, labeller):
            journal.add(str(record.image_id), row)
            if "bad" in row:
                boxes = record.annotation_ids.tolist()
                known = {"image_id": record.image_id, "annotation_ids": boxes}
                quarantined.append({"path": record.path, "reason": row["bad"], **known})
    finally:
        journal.close()
    if quarantined and len(quarantined) == len(wanted):
        first = quarantined[0]
        more = f" (and none of the other {len(wanted) - 1})" if wanted[1:] else ""
        raise InputError(first["path"], "", f"{first['reason']}{more}", "give photos that can be read")
    rows = [row for row in journal.rows.values() if "masks" in row]
    masks = {int(number): mask for row in rows for number, mask in row["masks"].items()}
    coco = _with_masks(source, masks, crowds, gone={one["image_id"] for one in quarantined})
    write_json(out, coco)
    write_json(_beside(out, "quarantined.json"), quarantined)
    return Labels(
        file=out,
        coco=coco,
        masks=len(masks),
        done_before=len(wanted) - len(waiting),
        without_depth=sum("no_depth" in row for row in rows),
        quarantined=quarantined,
    )


def _rows(records: Iterable[ImageRecord], labeller: Labeller) -> Iterator[tuple[ImageRecord, dict]]:
    for record, read in ahead(lambda record: (record, labeller.read(record)), records, waiting=8):
        yield record, labeller.row(record, read)


def _annotated(found: BoxMask, size_hw: tuple[int, int]) -> dict:
    from pycocotools import mask as coder

    canvas = np.zeros(size_hw, np.uint8, order="F")
    canvas[found.window] = found.mask
    rle = coder.encode(canvas)
    segmentation = {"size": list(size_hw), "counts": rle["counts"].decode()}
    return {"segmentation": segmentation, "area": int(found.mask.sum()), "attributes": found.quality.as_attributes()}


def _crowd_masks(data: CocoData, source: dict) -> dict[int, dict]:
    """The region of each crowd as RLE, which COCO wants of it: its own, or its box."""
    said = {item["id"]: item for item in source["annotations"] if item.get("iscrowd")}
    found = {}
    for record in data.records:
        for i in np.flatnonzero(record.crowd):
            number = int(record.annotation_ids[i])
            given = said[number].get("segmentation")
            try:
                safe = checked_segmentation(given, record.size_hw, may_be_empty=True) if given else None
            except InputError as fault:
                place = f"annotation {number} (image {record.image_id})"
                raise InputError(data.source, place, fault.cause, fault.next_step) from None
            if safe is None:
                found[number] = box_outlines(record.boxes_xyxy[[i]], record.size_hw)[0]
            else:
                found[number] = to_rle(safe, record.size_hw)
    return found


def _with_masks(source: dict, masks: Mapping[int, dict], crowds: Mapping[int, dict], *, gone: set[int]) -> dict:
    annotations = []
    for item in source["annotations"]:
        number = int(item["id"])
        if item["image_id"] in gone:
            continue
        if number in crowds:
            annotations.append({**item, "segmentation": crowds[number], "area": _area(crowds[number])})
            continue
        made = masks[number]
        attributes = {**item.get("attributes", {}), **made["attributes"]}
        annotations.append({"iscrowd": 0, **item, **made, "attributes": attributes})
    images = [item for item in source["images"] if item["id"] not in gone]
    return {**source, "images": images, "annotations": annotations}


def _area(rle: dict) -> int:
    from pycocotools import mask as coder

    return int(coder.area(rle))


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")

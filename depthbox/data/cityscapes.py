"""Cityscapes' official layout -> checked records: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_instanceIds.png`."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.data.schema import CocoData, ImageRecord

__all__ = ["INSTANCE_CLASSES", "instance_maps", "read_cityscapes"]

INSTANCE_CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Label id -> name of the eight classes with instances (cityscapesScripts, labels.py)."""

_LABELS, _PHOTO = "_gtFine_instanceIds.png", "_leftImg8bit.png"


def read_cityscapes(annotations: str | Path, *, images: str | Path, masks: bool) -> CocoData:
    """Boxes, and masks where `masks`, of every instance map below the folder `annotations`.

    A pixel's value is label id * 1000 + number for an instance, and the plain label id for a group that could not be told apart: that
    becomes a crowd. Boxes are those of the pixels, right and lower edge exclusive. Raises InputError for a map without a photo, a photo of
    another size, or a map that is none.
    """
    source, root = Path(annotations), Path(os.path.realpath(images))
    maps = instance_maps(source)
    if not maps:
        raise InputError(source, "", f"holds no *{_LABELS}", "give the folder of a split, such as gtFine/train")
    records = tuple(_record(number, path, source, root, masks=masks) for number, path in enumerate(maps))
    digest = hashlib.sha256(b"cityscapes")
    for record in records:
        digest.update(json.dumps([os.path.relpath(record.path, root), record.size_hw, record.segmentations]).encode())
        for column in (record.boxes_xyxy, record.labels, record.crowd):
            digest.update(column.tobytes())
    return CocoData(
        source=str(source),
        records=records,
        class_names=tuple(INSTANCE_CLASSES.values()),
        category_ids=tuple(INSTANCE_CLASSES),
        digest=digest.hexdigest(),
    )


def instance_maps(source: str | Path) -> list[Path]:
    """The instance maps below a folder; the image id is the place in this list."""
    return sorted(Path(source).rglob(f"*{_LABELS}"))


def _record(number: int, path: Path, source: Path, images: Path, *, masks: bool) -> ImageRecord:
    photo = images / path.relative_to(source).with_name(path.name.replace(_LABELS, _PHOTO))
    if not os.path.realpath(photo).startswith(os.path.join(images, "")):
        raise InputError(path, photo.name, "its photo is a link that leaves the images folder", "copy the photo")
    ids = _instance_map(path)
    _check_photo(photo, path, (ids.shape[0], ids.shape[1]))
    found = [int(value) for value in np.unique(ids) if _label(int(value)) in INSTANCE_CLASSES]
    shapes = [ids == value for value in found]
    order = list(INSTANCE_CLASSES)
    return ImageRecord(
        image_id=number,
        path=str(photo),
        size_hw=(ids.shape[0], ids.shape[1]),
        boxes_xyxy=np.array([_box(shape) for shape in shapes], np.float32).reshape(-1, 4),
        labels=np.array([order.index(_label(value)) for value in found], np.int64),
        crowd=np.array([value < 1000 for value in found], np.bool_),
        segmentations=tuple(_rle(shape) if masks else None for shape in shapes),
        annotation_ids=np.array([number * 100_000 + value for value in found], np.int64),
    )


def _label(value: int) -> int:
    return value // 1000 if value >= 1000 else value


def _instance_map(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            ids = np.asarray(file)
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error})", "copy it again from the data set") from None
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise InputError(path, "", f"is {ids.dtype} of shape {ids.shape}", "an instance map is one channel of 16 bits")
    return ids.astype(np.int64)


def _check_photo(photo: Path, labels: Path, size_hw: tuple[int, int]) -> None:
    try:
        with Image.open(photo) as file:
            width, height = file.size
    except OSError:
        raise InputError(labels, "", f"there is no photo {photo}", "give data.*.images= as leftImg8bit/SPLIT") from None
    if (height, width) != size_hw:
        cause = f"is {size_hw[1]} x {size_hw[0]}, its photo {width} x {height}"
        raise InputError(labels, photo.name, cause, "use the maps that belong to these photos")


def _box(shape: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _rle(shape: np.ndarray) -> dict[str, object]:
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(shape.astype(np.uint8)))
    return {"size": list(shape.shape), "counts": code["counts"].decode("ascii")}

"""COCO JSON -> checked records. Every fault names the file, the record, what is allowed and what to do."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.decode import MAX_PIXELS, checked_segmentation, edge_tolerance, shown
from depthbox.data.schema import CocoData, ImageRecord

__all__ = ["read_coco"]

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BOX = "bbox is [x, y, width, height] in pixels of the original image, width and height above 0"


def read_coco(annotations: str | Path, *, images: str | Path, masks: bool) -> CocoData:
    """All images of one annotation file, with their boxes, and with their masks where `masks`.

    With `masks=False` no `segmentation` is looked at: a box-supervised run cannot peek, and bad masks do not matter.
    Category ids, sparse or 0, become labels 0..K-1 in ascending order. Boxes that stick out by at most 1 pixel or 1 %
    are clipped. Raises InputError for B1 to B11: broken JSON, duplicate or dangling ids, impossible boxes and masks,
    file names that leave `images`, photos that are not there.
    """
    source = Path(annotations)
    said = _parsed(source)
    categories = _categories(source, said)
    frames = _frames(source, said)
    paths = _paths(source, frames, Path(images))
    objects = _objects(source, said, frames=frames, labels=list(categories), masks=masks)
    records = tuple(_record(number, paths[number], frames[number][1], objects[number]) for number in sorted(frames))
    return CocoData(
        source=str(source),
        records=records,
        class_names=tuple(categories.values()),
        category_ids=tuple(categories),
        digest=_digest(records, frames, categories),
    )


def _parsed(source: Path) -> dict:
    try:
        data = source.read_bytes()
    except (OSError, ValueError) as error:
        cause = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(source, "", cause, "check the path of the annotations") from None
    try:
        said = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(source, f"line {line}, byte {error.start}", "not UTF-8", "save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno} (character {error.pos} of {len(error.doc)})"
        raise InputError(source, place, f"not JSON: {error.msg}", "it is cut off or damaged: copy it again") from None
    except (RecursionError, ValueError):  # nested a thousand deep; a number of thousands of digits
        raise InputError(source, "", "not JSON that can be read", "a COCO file is nested 4 deep") from None
    if not isinstance(said, dict):
        raise InputError(source, "", f"holds {shown(said)}", "allowed: an object with images, annotations, categories")
    return said


def _entries(source: Path, said: dict, key: str) -> Iterator[tuple[int, dict, str]]:
    """(id, item, name for messages) of each item of a list; ids are whole numbers and unique."""
    items, one = said.get(key), {"images": "image", "annotations": "annotation", "categories": "category"}[key]
    if not isinstance(items, list):
        cause = f"{key!r} is missing" if key not in said else f"{key!r} is {shown(items)}"
        raise InputError(source, "", cause, f"a COCO file has a list {key!r}")
    seen = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(source, f"{key}[{index}]", f"is {shown(item)}", "allowed: an object")
        number = _whole(item, "id", source, f"{key}[{index}]")
        if number in seen:
            raise InputError(source, f"{one} {number}", "this id occurs twice", f"give each {one} its own id")
        seen.add(number)
        yield number, item, f"{one} {number}"


def _whole(item: dict, key: str, source: Path, record: str) -> int:
    value = item.get(key)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        cause = f"{key!r} is missing" if key not in item else f"{key!r} is {shown(value)}"
        raise InputError(source, record, cause, "allowed: a whole number")
    return value


def _text(item: dict, key: str, source: Path, record: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip() or _UNPRINTABLE.search(value):
        cause = f"{key!r} is missing" if key not in item else f"{key!r} is {shown(value)}"
        raise InputError(source, record, cause, "allowed: a text without control characters")
    return value


def _categories(source: Path, said: dict) -> dict[int, str]:
    """Category id -> name, ascending."""
    entries = _entries(source, said, "categories")
    names = {number: _text(item, "name", source, record) for number, item, record in entries}
    if not names:
        raise InputError(source, "", "'categories' is empty", "list every class as {'id': ..., 'name': ...}")
    return dict(sorted(names.items()))


def _frames(source: Path, said: dict) -> dict[int, tuple[str, tuple[int, int]]]:
    """Image id -> (file name, height and width)."""
    frames = {}
    for number, item, record in _entries(source, said, "images"):
        size_hw = (_whole(item, "height", source, record), _whole(item, "width", source, record))
        if min(size_hw) < 1 or size_hw[0] * size_hw[1] > MAX_PIXELS:
            cause = f"width x height is {shown(size_hw[1])} x {shown(size_hw[0])}"
            raise InputError(source, record, cause, f"allowed: 1 x 1 to {MAX_PIXELS} pixels in all")
        frames[number] = (_text(item, "file_name", source, record), size_hw)
    if not frames:
        raise InputError(source, "", "'images' is empty", "list at least one image")
    return frames


# Files ---------------------------------------------------------------------------------------------------------------


def _paths(source: Path, frames: dict, images: Path) -> dict[int, str]:
    """Image id -> absolute path of an existing file inside `images`. One listing a folder, no look-up a file."""
    if not images.is_dir():
        raise InputError(images, "", "the images folder does not exist", "check the path of the images")
    root, folders, paths, missing = os.path.realpath(images), {}, {}, []
    for number, (name, _) in frames.items():
        if PureWindowsPath(name).anchor or ".." in re.split(r"[/\\]", name):
            cause = f"file_name {shown(name)} leaves the images folder"
            raise InputError(source, f"image {number}", cause, f"allowed: a path below {images}")
        folder, base = os.path.split(os.path.normpath(os.path.join(root, name)))
        if folder not in folders:
            folders[folder] = (os.path.realpath(folder), _listing(folder))
        true_folder, is_link = folders[folder]
        path = os.path.join(folder, base)
        linked = is_link.get(base)
        if not _inside(root, os.path.realpath(path) if linked else os.path.join(true_folder, base)):
            cause = f"file_name {shown(name)} is a link that leaves the images folder"
            raise InputError(source, f"image {number}", cause, "copy the photo, or name the folder it lies in")
        if linked is None or (linked and not os.path.isfile(path)):
            missing.append((number, name))
        paths[number] = path
    if missing:
        (number, name), more = missing[0], f" (and {len(missing) - 1} more of {len(frames)})" if missing[1:] else ""
        cause = f"there is no photo {shown(name)} in {images}{more}"
        raise InputError(source, f"image {number}", cause, "check the images folder and file_name")
    return paths


def _inside(root: str, path: str) -> bool:
    return path.startswith(os.path.join(root, ""))


def _listing(folder: str) -> dict[str, bool]:
    """Name -> is it a link; files and links only."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries if entry.is_symlink() or entry.is_file()}
    except OSError:
        return {}


# Objects -------------------------------------------------------------------------------------------------------------


def _objects(source: Path, said: dict, *, frames: dict, labels: list[int], masks: bool) -> dict[int, list[tuple]]:
    """Image id -> (annotation id, box, label, crowd, segmentation) of each object, by annotation id."""
    label_of = {number: label for label, number in enumerate(labels)}
    objects: dict[int, list[tuple]] = {number: [] for number in frames}
    for number, item, record in _entries(source, said, "annotations"):
        image, category = (_whole(item, key, source, record) for key in ("image_id", "category_id"))
        if image not in frames:
            raise InputError(source, record, f"there is no image {image}", "list it in 'images' or drop the annotation")
        if category not in label_of:
            cause = f"there is no category {category}"
            raise InputError(source, record, cause, "list it in 'categories' or drop the annotation")
        place, size_hw, crowd = f"{record} (image {image})", frames[image][1], item.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise InputError(source, place, f"'iscrowd' is {shown(crowd)}", "allowed: 0 or 1")
        try:
            box = _box(item, size_hw)
            mask = _mask(item, size_hw, bool(crowd)) if masks else None
        except InputError as fault:
            raise InputError(source, place, fault.cause, fault.next_step) from None
        if box is None:
            kind = "looks like x1, y1, x2, y2" if _corners(said, frames) else "leaves the image"
            cause = f"bbox {shown(item['bbox'])} {kind} (image: {size_hw[1]} x {size_hw[0]})"
            raise InputError(source, place, cause, _BOX)
        objects[image].append((number, box, label_of[category], bool(crowd), mask))
    return {image: sorted(found, key=lambda row: row[0]) for image, found in objects.items()}


def _numbers(item: dict) -> tuple[float, ...] | None:
    """The four numbers of a bbox; None if it is anything else. A comparison with NaN is False."""
    box = item.get("bbox")
    if not (isinstance(box, list) and len(box) == 4):
        return None
    good = all(type(value) in (int, float) and abs(value) <= 1e9 for value in box)
    return tuple(map(float, box)) if good else None


def _box(item: dict, size_hw: tuple[int, int]) -> tuple[float, ...] | None:
    """x1, y1, x2, y2 clipped to the image; None if it leaves the image by more than rounding."""
    numbers = _numbers(item)
    if numbers is None:
        cause = f"'bbox' is {shown(item['bbox'])}" if "bbox" in item else "'bbox' is missing"
        raise InputError("", "", cause, "allowed: four finite numbers; " + _BOX)
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        what = "negative" if min(width, height) < 0 else "zero"
        raise InputError("", "", f"bbox {shown(item['bbox'])} has a {what} width or height", _BOX)
    box, limits = (x, y, x + width, y + height), size_hw[::-1] * 2
    slack = [edge_tolerance(limit) for limit in limits]
    if any(not -over <= edge <= limit + over for edge, limit, over in zip(box, limits, slack, strict=True)):
        return None
    x1, y1, x2, y2 = clipped = tuple(
        float(np.float32(min(max(edge, 0.0), limit))) for edge, limit in zip(box, limits, strict=True)
    )
    if x2 <= x1 or y2 <= y1:
        raise InputError("", "", f"bbox {shown(item['bbox'])} has no area inside the image", _BOX)
    return clipped


def _corners(said: dict, frames: dict) -> bool:
    """Every box of the file would fit its image as x1, y1, x2, y2. Asked only where one does not fit as x, y, w, h."""
    for item in said["annotations"]:
        numbers = _numbers(item) if isinstance(item, dict) else None
        image = item.get("image_id") if numbers else None
        frame = frames.get(image) if isinstance(image, int | float) else None
        if numbers is None or frame is None:
            return False
        (x1, y1, x2, y2), (height, width) = numbers, frame[1]
        if not (-1 <= x1 < x2 <= width + 1 and -1 <= y1 < y2 <= height + 1):
            return False
    return True


def _mask(item: dict, size_hw: tuple[int, int], crowd: bool) -> object | None:
    segmentation = item.get("segmentation")
    if segmentation is None or segmentation == []:
        return None
    return checked_segmentation(segmentation, size_hw, may_be_empty=crowd)


def _record(number: int, path: str, size_hw: tuple[int, int], found: list[tuple]) -> ImageRecord:
    ids, boxes, labels, crowd, masks = zip(*found, strict=True) if found else ((), (), (), (), ())
    return ImageRecord(
        image_id=number,
        path=path,
        size_hw=size_hw,
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        crowd=np.array(crowd, np.bool_),
        segmentations=masks,
        annotation_ids=np.array(ids, np.int64),
    )


def _digest(records: tuple[ImageRecord, ...], frames: dict, categories: dict[int, str]) -> str:
    """Independent of the order of the file, of where the photos lie, and of masks that were not read."""
    digest = hashlib.sha256(json.dumps(list(categories.items())).encode())
    for record in records:
        digest.update(json.dumps([record.image_id, *frames[record.image_id]]).encode())
        for column in (record.annotation_ids, record.boxes_xyxy, record.labels, record.crowd):
            digest.update(column.tobytes())
        if any(mask is not None for mask in record.segmentations):
            digest.update(json.dumps(record.segmentations).encode())
    return digest.hexdigest()

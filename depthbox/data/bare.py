"""Photos without annotations -> records that say nothing but where a photo is and how large."""

import os
import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.decode import open_photo, shown
from depthbox.data.schema import ImageRecord

__all__ = ["bare_records"]

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
THREADS = 8


def bare_records(photos: Sequence[str], *, known: Collection[str], first_id: int) -> tuple[ImageRecord, ...]:
    """A record with supervision "none" of each photo whose path is not among `known`; ids count up from `first_id`.

    Only headers are read. A photo without a readable one stays, as 1 x 1: whoever decodes it sets it aside, with the reason. Raises InputError for
    a name with control characters, and for a link that leaves its folder.
    """
    new = [path for path in photos if path not in known]
    for path in new:
        _check(path)
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(_size_hw, new))
    return tuple(_record(first_id + i, path, size) for i, (path, size) in enumerate(zip(new, sizes, strict=True)))


def _check(path: str) -> None:
    folder, name = os.path.split(path)
    if _UNPRINTABLE.search(name):
        raise InputError(folder, shown(name), "has control characters in its name", "rename it")
    if os.path.islink(path) and not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):
        raise InputError(path, "", "is a link that leaves its folder", "copy the photo, or name the folder it lies in")


def _size_hw(path: str) -> tuple[int, int]:
    """Height and width as the photo is shown."""
    try:
        with open(path, "rb") as file:
            photo, turn = open_photo(file, path)
            return (photo.width, photo.height) if turn >= 5 else (photo.height, photo.width)
    except Exception:  # a bomb, or damage: Pillow raises whatever its parser stumbles over
        return 1, 1


def _record(number: int, path: str, size_hw: tuple[int, int]) -> ImageRecord:
    return ImageRecord(
        image_id=number,
        path=path,
        size_hw=size_hw,
        boxes_xyxy=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, np.bool_),
        segmentations=(),
        annotation_ids=np.zeros(0, np.int64),
        supervision="none",
    )

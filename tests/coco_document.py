"""A small COCO file with everything that is allowed in one, and its photos."""

from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coder

__all__ = ["SQUARE", "compressed", "document", "write_photos"]

SQUARE = [[10.0, 5.0, 20.0, 5.0, 20.0, 15.0, 10.0, 15.0]]


def compressed(height: int = 30, width: int = 40) -> dict:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[4:9, 3:30] = 1
    mask[12:20, 7:9] = 1
    rle = coder.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def document() -> dict:
    """Two photos of 40 x 30 and one of 8 x 6 without objects; sparse category ids, one of them 0."""
    return {
        "info": {},
        "images": [
            {"id": 7, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "sub/a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "empty.png", "width": 8, "height": 6},
        ],
        "categories": [{"id": 90, "name": "tooth brush"}, {"id": 0, "name": "person"}, {"id": 5, "name": "bus"}],
        "annotations": [
            {"id": 12, "image_id": 3, "category_id": 5, "bbox": [3, 4, 27, 16], "segmentation": compressed()},
            {"id": 11, "image_id": 3, "category_id": 90, "bbox": [10, 5, 10, 10], "segmentation": SQUARE, "iscrowd": 0},
            {
                "id": 20, "image_id": 7, "category_id": 0, "bbox": [0, 0, 2, 30], "iscrowd": 1,
                "segmentation": {"size": [30, 40], "counts": [0, 60, 1140]},
            },
        ],
    }  # fmt: skip


def write_photos(folder: Path) -> Path:
    (folder / "sub").mkdir()
    for name, size in (("b.png", (40, 30)), ("sub/a.png", (40, 30)), ("empty.png", (8, 6))):
        Image.new("RGB", size).save(folder / name)
    return folder

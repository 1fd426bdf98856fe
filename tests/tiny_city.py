"""A street in Cityscapes' official layout: a car, a person, a group of people, a bicycle; more photos show other cars and people."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["write_tiny_city"]


def write_tiny_city(folder: Path, *, splits: Sequence[str] = ("train",), photos: int = 1) -> Path:
    """`folder/{gtFine,leftImg8bit}/SPLIT/aachen/`: 64 x 32 pixels; the first photo is black, others and other splits have other bytes."""
    for number, split in enumerate(splits):
        for frame in range(photos):
            place = {kind: folder / kind / split / "aachen" for kind in ("gtFine", "leftImg8bit")}
            for one in place.values():
                one.mkdir(parents=True, exist_ok=True)
            name = f"aachen_{frame:06d}_000019"
            Image.fromarray(_street(frame)).save(place["gtFine"] / f"{name}_gtFine_instanceIds.png")
            photo = np.full((32, 64, 3), 10 * frame + number, np.uint8)
            Image.fromarray(photo).save(place["leftImg8bit"] / f"{name}_leftImg8bit.png")
    return folder


def _street(frame: int) -> np.ndarray:
    ids = np.full((32, 64), 7, np.uint16)
    if frame == 0:
        ids[4:12, 6:20] = 26000
        ids[10:30, 30:40] = 24003
        ids[0:6, 50:60] = 24
        ids[20:24, 2:6] = 33001
        return ids
    rng = np.random.default_rng(frame)
    ids[28:] = 0  # void
    for instance in range(4):
        y, x, height, width = rng.integers((0, 0, 8, 8), (18, 48, 16, 24))
        ids[y : y + height, x : x + width] = (24, 26)[instance % 2] * 1000 + instance
    return ids

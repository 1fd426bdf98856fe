"""Photos whose colours are their classes: red, green or blue shapes with noise, label ids 10, 20, 30 and a void corner of 0."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["CLASSES", "IDS", "write_tiny_semantic"]

CLASSES = ("red", "green", "blue")
IDS = (10, 20, 30)


def write_tiny_semantic(
    folder: Path,
    *,
    photos: int = 6,
    size_hw: tuple[int, int] = (48, 64),
    seed: int = 0,
    images: str = "photos",
    labels: str = "labels",
) -> Path:
    """`folder/IMAGES/p_NN.png`, `folder/LABELS/p_NN.png` and `folder/table.json`."""
    for name in (images, labels):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids: dict[str, str | None] = {str(number): name for number, name in zip(IDS, CLASSES, strict=True)}
    (folder / "table.json").write_text(json.dumps({"ids": {"0": None} | ids}))
    for number in range(photos):
        classes = _scene(np.random.default_rng((seed, number)), size_hw)
        photo = np.full((*size_hw, 3), 20, np.uint8)
        rng = np.random.default_rng((seed, number, 1))
        for channel in range(3):
            photo[..., channel][classes == channel] = rng.integers(200, 255, (classes == channel).sum())
        Image.fromarray(photo).save(folder / images / f"p_{number:02d}.png")
        values = np.array(IDS, np.uint8)[classes]
        values[:3, :3] = 0
        Image.fromarray(values).save(folder / labels / f"p_{number:02d}.png")
    return folder


def _scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Class 0 above, class 1 below, a few rectangles of class 2."""
    height, width = size_hw
    classes = np.zeros(size_hw, np.int64)
    classes[int(height * rng.uniform(0.3, 0.6)) :] = 1
    for _ in range(3):
        top, left = rng.integers(height - 12), rng.integers(width - 16)
        classes[top : top + rng.integers(6, 12), left : left + rng.integers(8, 16)] = 2
    return classes

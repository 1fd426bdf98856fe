"""Photos of noise and an estimator that says what it has looked at, for tests of the disparity cache."""

import time
from pathlib import Path

import numpy as np

__all__ = ["Brightness", "H", "W", "photos_of"]

H, W = 12, 16


class Brightness:
    """An estimator: brighter is nearer. It writes the digest of every image it looks at (its first pixel) to a log."""

    cached = True
    name = "brightness"

    def __init__(self, log: Path, digest: str = "b" * 64, pause_s: float = 0.0) -> None:
        self.log, self.digest, self.pause_s = log, digest, pause_s

    def disparity(self, images, paths):
        time.sleep(self.pause_s * len(images))
        with self.log.open("a") as file:
            file.writelines(f"{path}\n" for path in paths)
        return [image[..., 0].astype(np.float32) / 255 for image in images]

    def looked_at(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


def photos_of(numbers, size_hw=(H, W)):
    images = [np.random.default_rng(n).integers(0, 255, (*size_hw, 3), dtype=np.uint8) for n in numbers]
    return images, [f"{n:032x}" for n in numbers], [f"{n}.jpg" for n in numbers]

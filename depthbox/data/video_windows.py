"""A random window of the frames of one step, and the camera that would have taken it."""

from dataclasses import dataclass

import numpy as np

from depthbox.core.rng import generator
from depthbox.data.intrinsics import Intrinsics

__all__ = ["Window", "random_window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Width and height, left and top, as shares of the frame."""

    side: float = 1.0
    left: float = 0.0
    top: float = 0.0

    def cut(self, frames: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
        """The window of uint8 frames "F H W 3" at `size_hw`."""
        height, width = frames.shape[1:3]
        if self == Window() and (height, width) == size_hw:
            return frames
        from PIL import Image

        left, top = self.left * width, self.top * height
        box = (left, top, min(left + self.side * width, width), min(top + self.side * height, height))
        size = size_hw[::-1]
        return np.stack(
            [np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BILINEAR, box=box)) for f in frames]
        )

    def seen_by(self, camera: Intrinsics) -> tuple[float, float, float, float]:
        """`Intrinsics.values` of the window: a smaller window has a longer lens, and its principal point may lie outside of it."""
        return (
            camera.fx / self.side,
            camera.fy / self.side,
            (camera.u0 - self.left) / self.side,
            (camera.v0 - self.top) / self.side,
        )


def random_window(scale: tuple[float, float], *, seed: int, step: int, slot: int) -> Window:
    """What is left of a frame that is enlarged by a uniform factor of `scale` and cut to its size anywhere."""
    if scale == (1.0, 1.0):
        return Window()
    draw = generator("window", seed, step, slot)
    side = 1 / float(draw.uniform(*scale))
    left, top = draw.random(2) * (1 - side)
    return Window(side=side, left=float(left), top=float(top))

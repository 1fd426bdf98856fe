"""Where the pixels of a semantic training view come from: one resize a step, a square of it, a flip. Every draw is named by seed, step and slot."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthbox.core.rng import generator
from depthbox.data.config import SemanticViewsConfig
from depthbox.data.geometry import Geometry, target_size
from depthbox.data.intrinsics import Intrinsics
from depthbox.data.views import transform_map

__all__ = ["Crop", "draw_crop", "moved_camera", "shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A photo resized to `size_hw`, of which the rectangle at `top`, `left` of `view_hw` pixels is seen, mirrored where `flip`."""

    size_hw: tuple[int, int]
    top: int
    left: int
    view_hw: tuple[int, int]
    flip: bool


def draw_crop(
    config: SemanticViewsConfig,
    size_hw: tuple[int, int],
    *,
    seed: int,
    step: int,
    slot: int,
    stretch_to: tuple[int, int] | None = None,
) -> Crop:
    """The scale is drawn once a step, place and flip for every slot. `stretch_to`: the photo takes this size at scale 1, whatever its aspect."""
    factor = generator("scale", seed, step).uniform(*config.scale)
    if stretch_to is not None:
        size = multiple_of_32(stretch_to[0] * factor), multiple_of_32(stretch_to[1] * factor)
    else:
        size = target_size(size_hw, short_side=config.short_side * factor, max_side=math.inf)
    view = (min(config.crop, size[0]), min(config.crop, size[1])) if config.crop else size
    rng = generator("crop", seed, step, slot)
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(size, view, strict=True))
    flip = bool(generator("flip", seed, step, slot).random() < config.flip)
    return Crop(size_hw=size, top=top, left=left, view_hw=view, flip=flip)


def multiple_of_32(pixels: float) -> int:
    return max(32, round(pixels / 32) * 32)


def shown(values: np.ndarray | Tensor, crop: Crop, *, mode: str = "bilinear") -> Tensor:
    """The view of "C h w", float."""
    given = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    whole = transform_map(given.float(), Geometry(size_hw=crop.size_hw, flip=False), mode=mode)
    seen = whole[..., crop.top : crop.top + crop.view_hw[0], crop.left : crop.left + crop.view_hw[1]]
    return seen.flip(-1) if crop.flip else seen


def moved_camera(camera: Intrinsics, crop: Crop) -> tuple[float, float, float, float]:
    """fx, fy, u0, v0 of the view, as shares of its size: a resize changes nothing, a crop all of them, a flip u0."""
    (height, width), (rows, columns) = crop.size_hw, crop.view_hw
    u0, v0 = (camera.u0 * width - crop.left) / columns, (camera.v0 * height - crop.top) / rows
    return camera.fx * width / columns, camera.fy * height / rows, 1 - u0 if crop.flip else u0, v0

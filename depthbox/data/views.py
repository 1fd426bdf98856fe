"""What one training image looks like: a geometry drawn per step and slot, then a plain and a strong appearance of the same pixels.

Every draw comes from a stream named by (seed, step, slot), so an image is the same on every world size, launcher and resume.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from depthbox.core.rng import generator
from depthbox.data.config import ViewsConfig
from depthbox.data.geometry import Geometry

__all__ = ["strong_view", "transform_boxes", "transform_map", "transform_masks"]


def transform_map(values: Tensor, geometry: Geometry, *, mode: str = "bilinear") -> Tensor:
    """Resize and flip "C h w" (float)."""
    if tuple(values.shape[-2:]) != geometry.size_hw:
        options = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
        values = F.interpolate(values[None], size=geometry.size_hw, mode=mode, **options)[0]
    return values.flip(-1) if geometry.flip else values


def transform_masks(masks: np.ndarray, geometry: Geometry) -> Tensor:
    """Bool "N H W" -> bool at the view's size."""
    if not len(masks):
        return torch.zeros((0, *geometry.size_hw), dtype=torch.bool)
    return transform_map(torch.from_numpy(masks).float(), geometry) >= 0.5


def transform_boxes(boxes_xyxy: np.ndarray, from_hw: tuple[int, int], geometry: Geometry) -> Tensor:
    """Boxes "N 4" of an image of `from_hw` in the view's pixels."""
    height, width = geometry.size_hw
    boxes = torch.from_numpy(boxes_xyxy).float() * torch.tensor([width / from_hw[1], height / from_hw[0]] * 2)
    return (
        torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), 1) if geometry.flip else boxes
    )


ERASINGS = ((0.7, (0.05, 0.2), (0.3, 3.3)), (0.5, (0.02, 0.2), (0.1, 6.0)), (0.3, (0.02, 0.2), (0.05, 8.0)))
"""Chance, share of the area, height / width of each rectangle of noise (PL-DC)."""


def strong_view(image: Tensor, config: ViewsConfig, *, seed: int, step: int, slot: int) -> Tensor:
    """Colour jitter, sometimes grey, sometimes blurred, sometimes with rectangles of noise: uint8 "3 H W" in, the same out.

    With Pillow: torchvision's form of the same costs every data process seconds to import.
    """
    rng = generator("appearance", seed, step, slot)
    factors = rng.uniform(max(0.0, 1 - config.jitter), 1 + config.jitter, 3)
    hue, sigma = rng.uniform(-config.jitter / 4, config.jitter / 4), rng.uniform(0.1, 2.0)
    jittered, grey, blurred = rng.random(3) < (0.8 if config.jitter else 0.0, config.grey, config.blur)
    photo = Image.fromarray(image.permute(1, 2, 0).numpy())
    if jittered:
        for enhance, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
        ):
            photo = enhance(photo).enhance(float(factor))
        photo = _turned_hue(photo, hue)
    if grey:
        photo = photo.convert("L").convert("RGB")
    if blurred:
        photo = photo.filter(ImageFilter.GaussianBlur(float(sigma)))
    pixels = np.array(photo)
    if config.erase:
        _erase(pixels, config.erase, generator("erasing", seed, step, slot))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _erase(pixels: np.ndarray, factor: float, rng: np.random.Generator) -> None:
    """Three rectangles of noise, each with its chance; one that does not fit is drawn again, ten times at most."""
    height, width = pixels.shape[:2]
    for chance, share, ratio in ERASINGS:
        if rng.random() >= chance * factor:
            continue
        for _ in range(10):
            area, shape = rng.uniform(*share) * height * width, np.exp(rng.uniform(*np.log(ratio)))
            h, w = round(np.sqrt(area * shape)), round(np.sqrt(area / shape))
            if 0 < h < height and 0 < w < width:
                y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
                pixels[y : y + h, x : x + w] = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
                break


def _turned_hue(photo: Image.Image, turn: float) -> Image.Image:
    """Every hue moved by `turn` of the colour circle."""
    hue, saturation, value = photo.convert("HSV").split()
    shift = round(turn * 256)
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")

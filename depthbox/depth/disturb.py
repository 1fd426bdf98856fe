"""Disparity made as bad as a network's, on purpose: whoever tests with exact depth must also test with depth that is not."""

from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.core.rng import generator

__all__ = ["DisturbConfig", "disturb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisturbConfig:
    """Nothing by default. `blur` is a Gaussian's deviation in pixels of the map; `noise` the deviation of blotches of about 8 pixels, as a share of the
    range 0..1; `scale` the largest factor by which an image's disparity is compressed (drawn per image); `levels` the number of steps it is
    rounded to (256: 8 bits), 0 for none.
    """

    blur: float = 0.0
    noise: float = 0.0
    scale: float = 1.0
    levels: int = 0

    def __post_init__(self) -> None:
        if self.blur < 0 or self.noise < 0 or self.scale < 1 or self.levels < 0 or self.levels == 1:
            raise UsageError("depth.disturb: blur and noise from 0 up, scale from 1 up, levels 0 or at least 2")


def disturb(disparity: np.ndarray, config: DisturbConfig, *, seed: int, image_id: int) -> np.ndarray:
    """Disparity (H, W) in 0..1, disturbed in the order blur, noise, scale, levels; the same for an image in every pass. NaN stays NaN."""
    if config == DisturbConfig():
        return disparity
    from scipy.ndimage import gaussian_filter

    known = np.isfinite(disparity)
    values = np.where(known, disparity, 0).astype(np.float32)
    rng = generator("disturb", seed, image_id)
    if config.blur:
        weight = gaussian_filter(known.astype(np.float32), config.blur)
        values = gaussian_filter(values, config.blur) / np.maximum(weight, 1e-6)
    if config.noise:
        blotches = gaussian_filter(rng.standard_normal(values.shape).astype(np.float32), 4)
        values = values + config.noise * blotches / blotches.std()
    values = np.clip(values, 0, 1) / np.exp(rng.uniform(0, np.log(config.scale)))
    if config.levels:
        values = np.round(values * (config.levels - 1)) / (config.levels - 1)
    return np.where(known, values, np.nan).astype(disparity.dtype)

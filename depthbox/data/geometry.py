"""Where the pixels of a training view come from: its size and whether it is mirrored. No torch."""

from dataclasses import dataclass

from depthbox.core.rng import generator
from depthbox.data.config import ViewsConfig

__all__ = ["Geometry", "draw_geometry", "largest_geometry", "target_size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    size_hw: tuple[int, int]
    flip: bool


def target_size(size_hw: tuple[int, int], *, short_side: float, max_side: float) -> tuple[int, int]:
    """`size_hw` scaled so that the short side is `short_side` unless the long one would pass `max_side`."""
    factor = min(short_side / min(size_hw), max_side / max(size_hw))
    return max(1, round(size_hw[0] * factor)), max(1, round(size_hw[1] * factor))


def draw_geometry(config: ViewsConfig, size_hw: tuple[int, int], *, seed: int, step: int, slot: int) -> Geometry:
    """The scale is drawn once a step, so that a batch pads little; the flip for every slot."""
    factor = generator("scale", seed, step).uniform(*config.scale)
    return _geometry(config, size_hw, factor, seed=seed, step=step, slot=slot)


def largest_geometry(config: ViewsConfig, size_hw: tuple[int, int], *, seed: int, step: int, slot: int) -> Geometry:
    """The same flip at the largest scale that can be drawn: what a teacher looks at."""
    return _geometry(config, size_hw, config.scale[1], seed=seed, step=step, slot=slot)


def _geometry(
    config: ViewsConfig, size_hw: tuple[int, int], factor: float, *, seed: int, step: int, slot: int
) -> Geometry:
    size = target_size(size_hw, short_side=config.short_side * factor, max_side=config.max_side * factor)
    return Geometry(size_hw=size, flip=bool(generator("flip", seed, step, slot).random() < config.flip))

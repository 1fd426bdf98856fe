"""What a training view is. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass

from depthbox.core.config import added

__all__ = ["SemanticViewsConfig", "VideoViewsConfig", "ViewsConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsConfig:
    """Short side of the view in pixels (long side at most `max_side`), its random factor per step, flip, and the strength of the strong view.

    `jitter` is brightness, contrast and saturation (hue a quarter of it), applied with probability 0.8; `grey` and `blur` are probabilities. With all four at
    0 the strong view is the plain one. `erase` scales the chances of the three random erasings of PL-DC's strong view (1: as published, 0: none).
    """

    short_side: int = 256
    max_side: int = 426
    scale: tuple[float, float] = (0.8, 1.2)
    flip: float = 0.5
    jitter: float = 0.4
    grey: float = 0.1
    blur: float = 0.1
    erase: float = added(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoViewsConfig:
    """All frames are brought to one size: the short side in pixels, the other by the aspect of the first sequence, both in multiples of 32.

    `scale` enlarges the frames of a step by a random factor of at least 1 and cuts a random window of that size out of the three; the intrinsics follow it.
    A camera at one height makes "how low in the image" say how far; in a window it says less.
    `jitter` is brightness, contrast and saturation of what the networks see; the photometric error is taken without it.
    """

    short_side: int = 128
    scale: tuple[float, float] = added((1.0, 1.0))
    flip: float = 0.5
    jitter: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticViewsConfig:
    """Short side of the view in pixels, its random factor per step, then a random square of `crop` pixels (0: the whole photo; a smaller photo is padded), flip.

    The strong view as published: `jitter` is brightness, contrast and saturation, applied with probability 0.8, and a blur with probability `blur`.
    """

    short_side: int = 192
    crop: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    jitter: float = 0.25
    blur: float = 0.5

    @property
    def max_side(self) -> None:
        """A long photo is not made smaller: every pixel of it gets a class."""
        return None

"""How far a mask that was made from a box can be believed, without the truth."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Quality", "quality_of", "tight_agreement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Four figures in 0..1; the first is what masks are ranked by: the mask's times the root of the box's.

    Depth is told beside it: with the built-in disparity, on photos, it says nothing of a mask's IoU with the truth (experiments/LOG.md).
    """

    quality: float
    mask: float
    """How sure the network is of the mask's pixels, and how little the mask changes with the level at which it is cut off."""
    box: float
    """IoU of the mask's own box with the given one."""
    depth: float | None
    """S_dmatch: the share of the mask that has no depth edge in it; None without depth."""

    def as_attributes(self) -> dict[str, float]:
        """As a COCO annotation carries them (CVAT and FiftyOne read `attributes`)."""
        named = {"quality": self.quality, "mask_quality": self.mask, "box_agreement": self.box}
        return {name: round(value, 4) for name, value in named.items()} | (
            {} if self.depth is None else {"depth_consistency": round(self.depth, 4)}
        )


def quality_of(probability: np.ndarray, inside: np.ndarray, agreement: float, depth: float | None) -> Quality:
    """`inside` is the mask, cut from the `probability` of its window."""
    sure = float(probability[inside].mean())
    mask = math.sqrt(sure * _stability(probability))
    return Quality(quality=mask * math.sqrt(agreement), mask=mask, box=agreement, depth=depth)


def _stability(probability: np.ndarray, *, low: float = 0.3, high: float = 0.7) -> float:
    """IoU of the mask cut off at `high` with the one cut off at `low`: 1 for a sharp edge."""
    wide = np.count_nonzero(probability > low)
    return np.count_nonzero(probability > high) / wide if wide else 0.0


def tight_agreement(inside: np.ndarray, window: tuple[slice, slice], box_xyxy: np.ndarray) -> float:
    """IoU of the given box with the one that touches the mask; 0 for an empty mask. `inside` is the part of the photo at `window`."""
    if not inside.any():
        return 0.0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    own = (
        window[1].start + columns[0],
        window[0].start + rows[0],
        window[1].start + columns[-1] + 1,
        window[0].start + rows[-1] + 1,
    )
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    overlap = max(0.0, min(own[2], x1) - max(own[0], x0)) * max(0.0, min(own[3], y1) - max(own[1], y0))
    union = (own[2] - own[0]) * (own[3] - own[1]) + (x1 - x0) * (y1 - y0) - overlap
    return float(overlap / union)

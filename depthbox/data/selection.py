"""Which images are worth a label: those unlike the ones that have one, and those whose depth a student cannot predict (METHODS 3.2). No torch.

Axes: N images, D numbers of an image's feature; A images that have a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.core.rng import published_order

__all__ = ["Pick", "depth_disagreement", "flattened", "select"]

_FAR_DISPARITY = 0.07
_DILATION = 7
_BOTTOM = 0.13


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """One chosen image and why: its distance to the nearest one that has a label (infinite for the first), and its disagreement."""

    index: int
    distance: float
    disagreement: float


def flattened(features: np.ndarray) -> np.ndarray:
    """The maps "N C h w" -> "N D": each channel standardised over images and places (unbiased deviation), so that no channel rules the distance."""
    values = features.astype(np.float64)
    mean = values.mean((0, 2, 3), keepdims=True)
    deviation = values.std((0, 2, 3), keepdims=True, ddof=1)
    return ((values - mean) / np.maximum(deviation, 1e-12)).reshape(len(values), -1)


def select(
    features: np.ndarray,
    count: int,
    *,
    labelled: Sequence[int] = (),
    disagreement: np.ndarray | None = None,
    weight: float = 1000.0,
    seed: int = 0,
) -> list[Pick]:
    """`count` images one by one: argmax of the distance to the nearest labelled or chosen one, plus `weight` times the disagreement "N".

    Without any label the first is that of `core.rng.published_order`, as published. Ties go to the smaller index. Raises `UsageError` where there are
    too few images.
    """
    if not 0 <= count <= len(features) - len(labelled):
        raise UsageError(f"{count} images to choose of {len(features)}, {len(labelled)} of which have a label already")
    extra = np.zeros(len(features)) if disagreement is None else np.asarray(disagreement, np.float64)
    squares = (features**2).sum(1)
    nearest = np.full(len(features), np.inf)
    for index in labelled:
        nearest = np.minimum(nearest, _distances(features, squares, index))
    taken, picks = np.zeros(len(features), bool), []
    taken[list(labelled)] = True
    for _ in range(count):
        index = _first(len(features), seed) if not taken.any() else _best(nearest + weight * extra, taken)
        picks.append(Pick(index=index, distance=float(nearest[index]), disagreement=float(extra[index])))
        taken[index] = True
        nearest = np.minimum(nearest, _distances(features, squares, index))
    return picks


def depth_disagreement(student: np.ndarray, teacher: np.ndarray) -> float:
    """E = mean |log(1 + d_S) - log(1 + d_T)| of disparities (H, W), zero where the teacher sees far (dilated 7 x 7) and in the bottom 13 % of the rows."""
    from scipy.ndimage import binary_dilation

    difference = np.abs(np.log1p(student) - np.log1p(teacher))
    far = binary_dilation(teacher < _FAR_DISPARITY, np.ones((_DILATION, _DILATION), bool))
    difference[far] = 0
    rows = round(_BOTTOM * len(difference))
    difference[len(difference) - rows :] = 0
    return float(difference.mean())


def _first(images: int, seed: int) -> int:
    return int(published_order(images, seed=seed)[0])


def _best(score: np.ndarray, taken: np.ndarray) -> int:
    return int(np.where(taken, -np.inf, score).argmax())


def _distances(features: np.ndarray, squares: np.ndarray, index: int) -> np.ndarray:
    """L2 to one image."""
    return np.sqrt(np.maximum(squares + squares[index] - 2 * features @ features[index], 0))

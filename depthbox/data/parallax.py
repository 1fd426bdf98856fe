"""How far apart the frames of a video must be for depth to show: by what is left of their motion without the camera's turning. Plain numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthbox.data.decode import BadImage, read_image
from depthbox.data.intrinsics import Intrinsics

__all__ = ["chosen_gaps", "parallax"]

SHORT_SIDE, TILE, STEP = 128, 32, 16
"""Pixels: of the frames that are looked at, and of the squares whose motion is measured."""
WANTED, FARTHEST = 1.0, 8
"""Parallax between a frame and its neighbour, in pixels of `SHORT_SIDE`; the middle one of the chosen gaps at most."""
_FLAT, _FEWEST = 4.0, 8
"""Grey levels of spread below which a square shows no motion; squares of a pair that say something."""
_SEQUENCES, _PAIRS = 8, 6
"""Looked at: so many sequences, so many pairs of each."""


def chosen_gaps(sequences: Sequence[tuple[Sequence[Path], Intrinsics]]) -> tuple[tuple[int, ...], float | None]:
    """(gaps, the median parallax a frame): 1 where neighbouring frames show depth, else a half, one and two times the power of two that does.

    No depth is learnt from a camera that only turns, and hardly any from one that moves a fifth of a pixel a frame. No gap is longer than a quarter of the
    shortest sequence. The parallax is None where nothing can be said: then 1.
    """
    every = max(1, len(sequences) // _SEQUENCES)
    found = [p for files, intrinsics in sequences[::every] for p in _of_sequence(files, intrinsics)]
    if not found:
        return (1,), None
    a_frame = float(np.median(found))
    longest = max(1, min(len(files) for files, _ in sequences) // 4)
    middle = 2 ** int(np.log2(np.clip(WANTED / max(a_frame, 1e-6), 1, FARTHEST)))
    gaps = (1,) if middle == 1 else (middle // 2, middle, 2 * middle)
    return tuple(gap for gap in gaps if gap <= longest) or (1,), a_frame


def _of_sequence(files: Sequence[Path], intrinsics: Intrinsics) -> list[float]:
    starts = np.unique(np.linspace(0, len(files) - 2, _PAIRS).astype(int))
    values = (parallax(files[i], files[i + 1], intrinsics) for i in starts)
    return [value for value in values if value is not None]


def parallax(first: Path, second: Path, intrinsics: Intrinsics) -> float | None:
    """Median over squares of |motion - that of the rotation which explains most of it|, in pixels of frames with a short side of `SHORT_SIDE`.

    None for frames that cannot be read, and where too little has any texture.
    """
    try:
        one, two = (_grey(path) for path in (first, second))
    except BadImage:  # set aside by name in the run
        return None
    corners = [
        (y, x)
        for y in range(0, one.shape[0] - TILE + 1, STEP)
        for x in range(0, one.shape[1] - TILE + 1, STEP)
        if one[y : y + TILE, x : x + TILE].std() > _FLAT
    ]
    if one.shape != two.shape or len(corners) < _FEWEST:
        return None
    moved = np.array([_motion(*(image[y : y + TILE, x : x + TILE] for image in (one, two))) for y, x in corners])
    middles = np.array([(x + TILE / 2, y + TILE / 2) for y, x in corners])
    return float(np.median(_beside_rotation(middles, moved, intrinsics, one.shape)))


def _grey(path: Path) -> np.ndarray:
    return np.asarray(read_image(path, short_side=SHORT_SIDE, max_side=None).image, np.float32).mean(2)


def _motion(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """(x, y) by which a square has moved: the peak of the phase correlation, between pixels by a parabola."""
    window = np.hanning(TILE)[:, None] * np.hanning(TILE)
    before, after = (np.fft.rfft2((image - image.mean()) * window) for image in (one, two))
    cross = after * before.conj()
    size = np.abs(cross)
    peaks = np.fft.irfft2(cross / (size + 1e-3 * size.max() + 1e-12), one.shape)
    row, column = np.unravel_index(peaks.argmax(), peaks.shape)
    return _between(peaks[row], int(column)), _between(peaks[:, column], int(row))


def _between(line: np.ndarray, at: int) -> float:
    low, peak, high = (line[(at + step) % TILE] for step in (-1, 0, 1))
    bend = low - 2 * peak + high
    part = 0.0 if bend == 0 else float(np.clip(0.5 * (low - high) / bend, -0.5, 0.5))
    return (at + TILE // 2) % TILE - TILE // 2 + part


def _beside_rotation(
    middles: np.ndarray, moved: np.ndarray, intrinsics: Intrinsics, size_hw: tuple[int, ...]
) -> np.ndarray:
    """Lengths of what the small rotation that explains most of the motions "N 2" leaves of them; outliers (near things) bend it little."""
    height, width = size_hw
    focal = np.array([intrinsics.fx * width, intrinsics.fy * height])
    x, y = ((middles - np.array([intrinsics.u0 * width, intrinsics.v0 * height])) / focal).T
    across = focal[0] * np.stack([x * y, -(1 + x * x), y], 1)
    down = focal[1] * np.stack([1 + y * y, -x * y, -x], 1)
    turns, wanted, weight = np.concatenate([across, down]), moved.T.ravel(), np.ones(len(moved))
    left = np.zeros(len(moved))
    for _ in range(15):
        w = np.tile(weight, 2)
        rotation = np.linalg.lstsq(turns * w[:, None], wanted * w, rcond=None)[0]
        left = np.hypot(*(wanted - turns @ rotation).reshape(2, -1))
        weight = np.sqrt(np.minimum(1, (np.median(left) + 0.05) / np.maximum(left, 1e-6)))
    return left

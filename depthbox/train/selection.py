"""Which photos of a folder to label next, in rounds: features and depth of all, then the choice, then a student of what is chosen (METHODS 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from depthbox.core.errors import InputError, UsageError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.selection import Pick, depth_disagreement, flattened, select
from depthbox.depth.estimator import DepthEstimator
from depthbox.depth.features import decoder_features
from depthbox.depth.quality import resized_map
from depthbox.models.sde_net import input_size
from depthbox.train.depth_student import small, student_disparities

__all__ = ["By", "Pool", "choose", "read_pool", "rounds_of"]

By = Literal["diversity", "uncertainty", "both"]

_STUDENT_SIDE = 96
PUBLISHED_ROUNDS = (25, 50, 100, 200, 372, 744)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """The photos that can be read, and what the depth network says of them."""

    paths: Sequence[str]
    features: np.ndarray
    photos: np.ndarray
    """U8 "N h w 3", all of one small size."""
    disparities: np.ndarray
    """Float32 "N h w"."""
    unreadable: Sequence[str]


def read_pool(paths: Sequence[str], estimator: DepthEstimator, *, progress: Callable[[str], None] = print) -> Pool:
    """One look at every photo. Raises `InputError` where none can be read."""
    kept, features, photos, disparities, unreadable = [], [], [], [], []
    size_hw: tuple[int, int] | None = None
    for number, path in enumerate(paths, start=1):
        try:
            image = read_image(path, short_side=None, max_side=None).image
        except BadImage as error:
            unreadable.append(str(error))
            continue
        size_hw = size_hw or input_size(image.shape[:2], short_side=_STUDENT_SIDE)
        pooled, disparity = decoder_features(estimator, image)
        kept.append(path)
        features.append(pooled)
        photos.append(small(image, size_hw))
        disparities.append(resized_map(disparity, size_hw))
        if number % 100 == 0 or number == len(paths):
            progress(f"looked at {number}/{len(paths)} photos")
    if not kept:
        raise InputError(unreadable[0], "", "no photo can be read")
    return Pool(
        paths=kept, features=flattened(np.stack(features)) if len(kept) > 1 else np.stack(features).reshape(1, -1),
        photos=np.stack(photos), disparities=np.stack(disparities), unreadable=unreadable,
    )  # fmt: skip


def rounds_of(count: int, labelled: int, *, by: By) -> list[int]:
    """How many have a label after each round: the published numbers, then twice as many again and again; below 25 one half first (ours). One round where no
    student is asked.

    >>> rounds_of(100, 0, by="both"), rounds_of(10, 0, by="both"), rounds_of(25, 25, by="both"), rounds_of(9, 0, by="diversity")
    ([25, 50, 100], [5, 10], [50], [9])
    >>> rounds_of(1500, 0, by="both")
    [25, 50, 100, 200, 372, 744, 1488, 1500]
    """
    total, steps = labelled + count, [*PUBLISHED_ROUNDS]
    if by == "diversity":
        return [total]
    if total < steps[0]:
        return [total] if labelled or total < 2 else [-(-total // 2), total]
    while steps[-1] < total:
        steps.append(2 * steps[-1])
    return [*(size for size in steps if labelled < size < total), total]


def choose(
    pool: Pool, count: int, *, by: By, labelled: Sequence[int] = (), steps: int = 150, seed: int = 0
) -> list[tuple[int, Pick]]:
    """(round, pick) for each of `count` photos. Without a label the first round is by diversity alone. Raises `UsageError`."""
    if count < 1 or count > len(pool.paths) - len(labelled):
        cause = f"{len(pool.paths)} photos can be read, {len(labelled)} of which are labelled"
        raise UsageError(f"count={count}: {cause}; allowed are 1 to {len(pool.paths) - len(labelled)}")
    chosen, picks = list(labelled), []
    for number, size in enumerate(rounds_of(count, len(labelled), by=by), start=1):
        asked = by != "diversity" and bool(chosen)
        extra = _disagreements(pool, chosen, steps, seed) if asked else None
        features = np.zeros_like(pool.features) if asked and by == "uncertainty" else pool.features
        found = select(features, size - len(chosen), labelled=chosen, disagreement=extra, seed=seed)
        picks += [(number, pick) for pick in found]
        chosen += [pick.index for pick in found]
    return picks


def _disagreements(pool: Pool, labelled: Sequence[int], steps: int, seed: int) -> np.ndarray:
    said = student_disparities(pool.photos, pool.disparities, labelled, steps=steps, seed=seed)
    return np.array([depth_disagreement(s, t) for s, t in zip(said, pool.disparities, strict=True)])

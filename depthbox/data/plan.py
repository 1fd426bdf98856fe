"""Which images make up step n: a pure function of the seed, so that no sampler state is ever saved.

The global batch of a step is the same on every world size; rank r of W takes its r-th part. Photos of like shape share a step: a batch is padded
to its largest, and mixing tall and wide photos pads a third of it.
"""

from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.core.rng import generator

__all__ = ["Plan", "share"]

WINDOW_STEPS = 8
_HOP = 0.382
"""Of all images, to what stands in: the golden section, so that no hop of a few lands near another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`images` images shuffled anew each pass, `batch_size` of them a step, over all ranks.

    `aspects` (height / width an image; none: all alike) puts photos of like shape into one step: within every WINDOW_STEPS batches of a shuffled pass
    they are sorted, cut, and the batches shuffled again. `part` keeps the draws of one of several plans apart from the others'.
    """

    images: int
    batch_size: int
    seed: int
    aspects: tuple[float, ...] = ()
    part: str = ""

    def indices(self, step: int) -> np.ndarray:
        """Image indices of a step's slots: int64 (batch_size,). Every image once a pass; a step may span two passes."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._order(int(p) // self.images)[p % self.images] for p in places], dtype=np.int64)

    def share(self, rank: int, world_size: int) -> range:
        """The slots of a rank."""
        return share(self.batch_size, rank, world_size)

    def spare(self, index: int, attempt: int) -> int:
        """Which image stands in for one that cannot be read: one from far away, since what was cut off, or shares a frame of a video, lies side by side."""
        return (index + round(attempt * _HOP * self.images)) % self.images

    def _order(self, epoch: int) -> np.ndarray:
        # By identity: the entry keeps `aspects` alive, and to hash a number an image at every look-up would cost more than the image.
        key = (self.part, self.images, self.batch_size, self.seed, epoch, id(self.aspects))
        if key not in _orders:
            while len(_orders) > 8:
                _orders.pop(next(iter(_orders)))
            shuffled = generator("order" + self.part, self.seed, epoch).permutation(self.images)
            _orders[key] = self._by_shape(shuffled, epoch) if self.aspects else shuffled, self.aspects
        return _orders[key][0]

    def _by_shape(self, shuffled: np.ndarray, epoch: int) -> np.ndarray:
        """The pass with like shapes together, cut where steps begin; the images that complete the last pass's step come first, as shuffled."""
        first, aspects = -epoch * self.images % self.batch_size, np.array(self.aspects)
        parts = [shuffled[:first]]
        for start in range(first, self.images, WINDOW_STEPS * self.batch_size):
            window = shuffled[start : start + WINDOW_STEPS * self.batch_size]
            window = window[np.argsort(aspects[window], kind="stable")]
            whole = len(window) // self.batch_size
            order = generator("batches" + self.part, self.seed, epoch, start).permutation(whole)
            parts += [
                window[: whole * self.batch_size].reshape(whole, self.batch_size)[order].ravel(),
                window[whole * self.batch_size :],
            ]
        return np.concatenate(parts)


def share(batch_size: int, rank: int, world_size: int) -> range:
    """The slots of a rank. Raises `UsageError` where the ranks would not have equally many."""
    if batch_size % world_size:
        raise UsageError(
            f"batch_size={batch_size} does not divide among workers={world_size}; take a multiple of {world_size}"
        )
    size = batch_size // world_size
    return range(rank * size, (rank + 1) * size)


_orders: dict[tuple[str | int, ...], tuple[np.ndarray, tuple[float, ...]]] = {}

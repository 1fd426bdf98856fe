"""Which images make up step n: a pure function of the seed, so that no sampler state is ever saved.

The global batch of a step is the same on every world size; rank r of W takes its r-th part. Photos of like shape share a step: a batch is padded
to its largest, and mixing tall and wide photos pads a third of it.
"""

from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.core.rng import generator

__all__ = ["Plan"]

WINDOW_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`images` images shuffled anew each pass, `batch_size` of them a step, over all ranks.

    `aspects` (height / width an image; none: all alike) sorts the batches of one window of the shuffled sequence by shape; then their order is drawn.
    """

    images: int
    batch_size: int
    seed: int
    aspects: tuple[float, ...] = ()

    def indices(self, step: int) -> np.ndarray:
        """Image indices of a step's slots: int64 (batch_size,). Every image once a pass, but for the window in which one pass ends and the next begins."""
        window, place = divmod(step, WINDOW_STEPS)
        return self._batches(window)[place]

    def _batches(self, window: int) -> np.ndarray:
        """The steps of a window: int64 (WINDOW_STEPS, batch_size)."""
        size = WINDOW_STEPS * self.batch_size
        images = np.array(
            [self._order(p // self.images)[p % self.images] for p in range(window * size, (window + 1) * size)]
        )
        if not self.aspects:
            return images.reshape(WINDOW_STEPS, self.batch_size)
        batches = images[np.argsort(np.array(self.aspects)[images], kind="stable")].reshape(
            WINDOW_STEPS, self.batch_size
        )
        return batches[generator("batches", self.seed, window).permutation(WINDOW_STEPS)]

    def share(self, rank: int, world_size: int) -> range:
        """The slots of a rank."""
        if self.batch_size % world_size:
            raise UsageError(
                f"batch_size={self.batch_size} does not divide among workers={world_size}; take a multiple of {world_size}"
            )
        size = self.batch_size // world_size
        return range(rank * size, (rank + 1) * size)

    def spare(self, index: int, attempt: int) -> int:
        """Which image stands in for one that cannot be read."""
        return (index + attempt) % self.images

    def _order(self, epoch: int) -> np.ndarray:
        key = (self.images, self.seed, epoch)
        if key not in _orders:
            while len(_orders) > 8:
                _orders.pop(next(iter(_orders)))
            _orders[key] = generator("order", self.seed, epoch).permutation(self.images)
        return _orders[key]


_orders: dict[tuple[int, int, int], np.ndarray] = {}

"""Which images make up step n: a pure function of the seed, so that no sampler state is ever saved.

The global batch of a step is the same on every world size; rank r of W takes its r-th part.
"""

from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.core.rng import generator

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`images` images shuffled anew each pass, `batch_size` of them a step, over all ranks."""

    images: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> np.ndarray:
        """Image indices of a step's slots: int64 (batch_size,). Every image once a pass; a step may span two passes."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._order(int(p) // self.images)[p % self.images] for p in places], dtype=np.int64)

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

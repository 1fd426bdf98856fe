"""Named, independent streams of random numbers: what is drawn depends on the names alone, never on what was drawn before.

That makes resume exact without saving any generator, and the draw of image 7 at step 100 the same on every world size.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from depthbox.core.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["generator", "published_order", "torch_generator"]

_SEEDS = 1 << 32


def _seed(name: str, numbers: tuple[int, ...]) -> int:
    # int(): a numpy or torch number must name the stream that the plain number names.
    key = repr((name, *(int(n) for n in numbers)))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def generator(name: str, *numbers: int) -> np.random.Generator:
    """A numpy generator for `name` and its numbers, for example `generator("views", seed, step, slot)`."""
    return np.random.default_rng(_seed(name, numbers))


def torch_generator(name: str, *numbers: int) -> "torch.Generator":
    """The same for torch, on the CPU."""
    import torch

    return torch.Generator().manual_seed(_seed(name, numbers) >> 1)


def published_order(count: int, *, seed: int) -> np.ndarray:
    """0..count-1 as `np.random.seed(seed); np.random.permutation(count)` has them: what published lists of labelled images are drawn by.

    No stream of its own: two draws of one seed and count are one order. Raises `UsageError` for a seed that numpy does not take.
    """
    if not 0 <= seed < _SEEDS:
        raise UsageError(f"seed={seed}: allowed are 0 to {_SEEDS - 1}")
    return np.random.RandomState(seed).permutation(count)

"""Which images make up step n where not every image is labelled alike: so many with masks, so many with boxes, so many with nothing."""

import math
from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.data.plan import Plan, share

__all__ = ["WORDS", "MixedPlan", "Part", "counts_a_step"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The images of one word of supervision, and which of them a step draws."""

    word: str
    members: np.ndarray
    """Int64: ascending positions among the records of the data set."""
    plan: Plan
    """Over the positions in `members`; its `batch_size` is this part's images a step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedPlan:
    """A `Plan` of several parts, each shuffled by itself; disjoint.

    The words of a step's slots take turns in a fixed pattern, so that every rank of every allowed world size gets the same number of each.
    """

    parts: tuple[Part, ...]
    seed: int

    @property
    def images(self) -> int:
        """How many can be drawn."""
        return sum(part.plan.images for part in self.parts)

    @property
    def words(self) -> tuple[str, ...]:
        """What its images are labelled with."""
        return tuple(part.word for part in self.parts)

    @property
    def batch_size(self) -> int:
        return sum(part.plan.batch_size for part in self.parts)

    def indices(self, step: int) -> np.ndarray:
        """Image indices of a step's slots: int64 (batch_size,). Every image of a part once in a pass over that part."""
        slots, out = self._slots(), np.empty(self.batch_size, np.int64)
        for number, part in enumerate(self.parts):
            out[slots == number] = part.members[part.plan.indices(step)]
        return out

    def share(self, rank: int, world_size: int) -> range:
        """The slots of a rank: its share of every part."""
        for part in self.parts:
            if part.plan.batch_size % world_size:
                raise UsageError(
                    f"{part.plan.batch_size} images of a step are {WORDS[part.word]}, which does not divide among workers={world_size}; "
                    "change batch_size or the shares (data.labelled_share and its like)"
                )
        return share(self.batch_size, rank, world_size)

    def spare(self, index: int, attempt: int) -> int:
        """Which image stands in for one that cannot be read: one that is labelled alike."""
        for part in self.parts:
            place = int(np.searchsorted(part.members, index))
            if place < len(part.members) and part.members[place] == index:
                return int(part.members[part.plan.spare(place, attempt)])
        raise AssertionError(f"image {index} is in no part")

    def _slots(self) -> np.ndarray:
        """The part of each slot."""
        counts = [part.plan.batch_size for part in self.parts]
        turns = math.gcd(*counts)
        return np.tile(np.repeat(np.arange(len(counts)), [count // turns for count in counts]), turns)


WORDS = {
    "masks": "with masks",
    "boxes": "with boxes alone",
    "none": "without labels",
    "labels": "with labels",
    "source": "of the source domain",
}
"""What a word of supervision means."""

_ROUNDED = 0.01
"""A third of three images may be written 0.333."""


def counts_a_step(*, batch_size: int, **named_shares: float) -> tuple[int, ...]:
    """Images a step of each share (labelled_share=..., boxed_share=...), and how many are left. Raises `UsageError` for shares that are no
    whole images, or more than the step."""
    for name, value in named_shares.items():
        count = value * batch_size
        if not 0 <= value <= 1 or abs(count - round(count)) > _ROUNDED:
            shares = ", ".join(f"{n / batch_size:.4g}" for n in range(batch_size + 1))
            raise UsageError(f"data.{name}={value:g}: with batch_size={batch_size} allowed are {shares}")
    counts = [round(value * batch_size) for value in named_shares.values()]
    if sum(counts) > batch_size:
        raise UsageError(f"{' and '.join(f'data.{name}' for name in named_shares)} are more than 1 together")
    return *counts, batch_size - sum(counts)

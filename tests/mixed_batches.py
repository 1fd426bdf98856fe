"""Small batches of which some images have masks, some boxes alone, some nothing."""

from collections.abc import Sequence
from dataclasses import replace

from small_batches import OBJECTS, small_batch

from depthbox.core.batch import Batch

__all__ = ["mixed_batch"]


def mixed_batch(words: Sequence[str] = ("masks", "none", "none"), *, depth: bool = False) -> Batch:
    batch = small_batch([OBJECTS[0], OBJECTS[1], OBJECTS[0]][: len(words)], masks=True, depth=depth)
    empty = small_batch([()], masks=True).instances[0]
    shown = {"masks": lambda one: one, "boxes": lambda one: replace(one, masks=None), "none": lambda one: empty}
    pairs = list(zip(words, batch.instances, strict=True))
    return replace(
        batch,
        instances=[shown[word](one) for word, one in pairs],
        supervision=words,
        truth=[one if word == "none" else None for word, one in pairs],
    )

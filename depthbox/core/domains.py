"""Which image of a source domain goes with which target of a batch."""

from collections.abc import Sequence

__all__ = ["domain_pairs"]


def domain_pairs(supervision: Sequence[str]) -> list[tuple[int, int]]:
    """(place of a "source" image, place of a target) for cross-domain mixing: each image once where there are equally many, else the fewer in turn.

    The pairs of the ranks together are those of the global batch, on every world size that shares it evenly.

    >>> domain_pairs(["labels", "none", "source", "source"]), domain_pairs(["labels", "source", "none"]), domain_pairs(["labels", "none"])
    ([(2, 0), (3, 1)], [(1, 0), (1, 2)], [])
    """
    sources = [place for place, word in enumerate(supervision) if word == "source"]
    targets = [place for place, word in enumerate(supervision) if word != "source"]
    if not sources or not targets:
        return []
    pairs = max(len(sources), len(targets))
    return [(sources[k * len(sources) // pairs], targets[k * len(targets) // pairs]) for k in range(pairs)]

"""What went through the pipeline, over all workers: images read, images set aside, depth inferences, cache hits."""

from collections.abc import Mapping

from depthbox.core.dist import gather_objects
from depthbox.core.errors import InputError
from depthbox.data.source import DepthOutcome

__all__ = ["Counters"]


class Counters:
    """This rank's tally; `totals` adds up the ranks. `rows_in` counts different images, so rows_in == rows_ok + rows_quarantined."""

    def __init__(self, state: Mapping[str, object] | None = None) -> None:
        state = state or {}
        self.used: set[int] = set(state.get("used", ()))  # type: ignore[call-overload]
        self.bad: dict[int, tuple[str, str]] = {int(k): tuple(v) for k, v in dict(state.get("bad", {})).items()}  # type: ignore[call-overload]
        self.inferences = int(state.get("inferences", 0))  # type: ignore[call-overload]
        self.hits = int(state.get("hits", 0))  # type: ignore[call-overload]

    def add(self, outcome: DepthOutcome) -> None:
        self.used.update(outcome.indices)
        self.bad.update({index: (path, reason) for index, path, reason in outcome.bad})
        self.inferences += outcome.inferences
        self.hits += outcome.hits

    def gathered(self) -> "Counters":
        """All ranks together; every rank must call it."""
        total = Counters()
        for part in gather_objects(self.state()):
            one = Counters(part)
            total.used |= one.used
            total.bad |= one.bad
            total.inferences += one.inferences
            total.hits += one.hits
        return total

    def state(self) -> dict[str, object]:
        return {
            "used": sorted(self.used),
            "bad": {str(k): list(v) for k, v in sorted(self.bad.items())},
            "inferences": self.inferences,
            "hits": self.hits,
        }

    def totals(self) -> dict[str, int]:
        return {
            "depth_inferences": self.inferences,
            "cache_hits": self.hits,
            "rows_in": len(self.used | set(self.bad)),
            "rows_ok": len(self.used - set(self.bad)),
            "rows_quarantined": len(self.bad),
        }

    def check(self, allowed_share: float, images: int) -> None:
        """Raise once more than `allowed_share` of the data set has turned out unreadable."""
        if len(self.bad) > allowed_share * images:
            path, reason = next(iter(self.bad.values()))
            raise InputError(
                path,
                "",
                f"{reason}; {len(self.bad)} of {images} images cannot be read, more than data.quarantine_share={allowed_share}",
                "repair them (`depthbox data validate` lists them all) or raise data.quarantine_share",
            )

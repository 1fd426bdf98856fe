"""The stages between an annotation and a training batch, as plain functions: Ray Data and the local launcher run the same ones.

decode (one image) -> disparity (a depth actor's call) -> pack (one rank's share of one step, padded; in `pack.py`).
No torch is imported here: Ray's coordinating processes read this file too.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.config import ViewsConfig
from depthbox.data.decode import BadImage, Decoded, decode_record
from depthbox.data.fetch import DataCopy
from depthbox.data.mixture import MixedPlan
from depthbox.data.plan import Plan
from depthbox.data.quarantine import DecodeGuard
from depthbox.data.schema import CocoData, ImageRecord
from depthbox.depth.disturb import DisturbConfig

__all__ = ["DepthOutcome", "Objects", "Packed", "PackedFrames", "Rows", "Source"]

SPARES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthOutcome:
    """What became of the rows of a pack, for the counters."""

    indices: tuple[int, ...]
    """Images used."""
    bad: tuple[tuple[int, str, str], ...]
    """(image index, path, reason) of images that could not be read."""
    inferences: int
    hits: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """What an image holds beyond what the run may learn from; like the columns of `Packed`."""

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFrames:
    """`core.batch.Frames`, uint8 as it travels; `strong` None: as `plain`."""

    plain: np.ndarray
    strong: np.ndarray | None
    intrinsics: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One rank's share of one step, small enough to travel: uint8 pixels, float16 disparity."""

    step: int
    weak: np.ndarray
    strong: np.ndarray | None
    teacher: np.ndarray | None
    disparity: np.ndarray | None
    sizes_hw: tuple[tuple[int, int], ...]
    teacher_sizes_hw: tuple[tuple[int, int], ...]
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray | None, ...] | None
    image_ids: tuple[int, ...]
    outcome: DepthOutcome
    supervision: tuple[str, ...] = ()
    """A word an image, where a run has images of several."""
    truth: tuple[Objects | None, ...] = ()
    """Of images without labels: what is known of them all the same."""
    frames: "PackedFrames | None" = None
    semantic: np.ndarray | None = None
    """Uint8 "B H W" class of every pixel, IGNORE on padding."""
    semantic_truth: np.ndarray | None = None
    """The same of images without labels too, where it is known: for figures alone. None where all have labels."""


Rows = dict[str, np.ndarray]
"""Columns of decoded images: step, slot, index, image (object array of uint8 H W 3), digest, path, ok, bad (pickled list)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Everything the stages need to know; picklable."""

    data: CocoData
    plan: Plan | MixedPlan
    views: ViewsConfig
    masks: bool
    guard_folder: str
    disturb: DisturbConfig = DisturbConfig()
    teacher_from: int | None = None
    """The step from which packs carry a larger view for a teacher; None: never."""
    copy: DataCopy | None = None
    """Of data in an object store: whoever reads its files makes sure of the copy first."""

    def decode(self, steps: Sequence[int], slots: Sequence[int]) -> Rows:
        """Read the images of these (step, slot) pairs at the largest size a view can ask for."""
        found = [
            {"step": step, "slot": slot, **self._decode_one(int(self.plan.indices(step)[slot]))}
            for step, slot in zip(steps, slots, strict=True)
        ]
        columns = {name: [row[name] for row in found] for name in found[0]}
        return {
            name: _objects(values) if isinstance(values[0], np.ndarray | bytes) else np.array(values)
            for name, values in columns.items()
        }

    def pack(self, rows: Rows) -> Packed:
        """The views of one step's rows (same step throughout), padded to the size of the global batch."""
        from depthbox.data.pack import pack

        return pack(self, rows)

    def _columns(self, found: Decoded) -> dict[str, object]:
        """What a row holds of an image."""
        return {"image": found.image, "digest": found.digest}

    def _read(self, record: ImageRecord) -> Decoded:
        return decode_record(
            record,
            short_side=round(self.views.short_side * self.views.scale[1]),
            max_side=round(self.views.max_side * self.views.scale[1]),
        )

    def _decode_one(self, index: int) -> dict[str, object]:
        bad: list[tuple[int, str, str]] = []
        for attempt in range(SPARES + 1):
            at = self.plan.spare(index, attempt)
            if bad and at == bad[0][0]:  # all that could stand in have been tried
                break
            record = self.data.records[at]
            try:
                with DecodeGuard(self.guard_folder).watching(record.path):
                    image = self._read(record)
            except BadImage as error:
                bad.append((at, error.path, error.reason))
                continue
            return {
                "index": at,
                **self._columns(image),
                "path": record.path,
                "ok": True,
                "bad": pickle.dumps(bad),
            }
        raise InputError(
            bad[0][1],
            "",
            f"{bad[0][2]}; nor can {len(bad) - 1} more that would stand in",
            "run `depthbox data validate` on this data set",
        )


def _objects(values: list) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out

"""The stages of `data.source` for photos with a class for every pixel: a row is a photo, its classes and its neighbours, a pack their views."""

from dataclasses import dataclass

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.config import SemanticViewsConfig
from depthbox.data.decode import BadImage, Decoded, read_image
from depthbox.data.label_map import read_labels
from depthbox.data.semantic import SemanticData, SemanticRecord
from depthbox.data.source import Packed, Rows, Source

__all__ = ["SemanticSource"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene(Decoded):
    labels: np.ndarray
    """Uint8 "h w", no larger than the photo as decoded; 0 x 0 where nobody knows any."""
    neighbours: np.ndarray
    """Uint8 "2 H W 3": before, after; 0 x 0 x 0 x 3 where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticSource(Source):
    """`Source` over semantic data. `frames_hw`: the size that every photo is stretched to, where neighbours are shown as well (a pack then has
    no padding); None: no neighbours."""

    data: SemanticData  # type: ignore[assignment]
    views: SemanticViewsConfig  # type: ignore[assignment]
    frames_hw: tuple[int, int] | None = None

    def pack(self, rows: Rows) -> Packed:
        """The views of one step's rows (same step throughout)."""
        from depthbox.data.semantic_pack import pack_semantic

        return pack_semantic(self, rows)

    def _columns(self, found: Decoded) -> dict[str, object]:
        assert isinstance(found, _Scene)
        return {"image": found.image, "digest": found.digest, "labels": found.labels, "neighbours": found.neighbours}

    def _read(self, record: SemanticRecord) -> Decoded:  # type: ignore[override]
        photo = self._photo(record.path, record)
        labels = self._labels(record, photo.size_hw, photo.image.shape[:2])
        neighbours = np.zeros((0, 0, 0, 3), np.uint8)
        if self.frames_hw is not None and record.intrinsics is not None:
            neighbours = np.stack([self._photo(path, record).image for path in (record.before, record.after)])
        return _Scene(
            image=photo.image, digest=photo.digest, size_hw=photo.size_hw, labels=labels, neighbours=neighbours
        )

    def _labels(self, record: SemanticRecord, size_hw: tuple[int, int], shown_hw: tuple[int, ...]) -> np.ndarray:
        """The classes of a photo of `size_hw` that was decoded at `shown_hw`; 0 x 0 where nobody knows any.

        Those of a photo without labels are for figures alone, so that a fault in them is no fault of the photo.
        """
        nobody_knows = np.zeros((0, 0), np.uint8)
        if not record.label_path:
            return nobody_knows
        try:
            return _at_most(read_labels(record.label_path, record.table, expect_hw=size_hw), shown_hw)
        except (BadImage, InputError) as error:
            if record.supervision == "none":
                return nobody_knows
            # An id that no table knows is set aside like damage: how many of them end a run, data.quarantine_share says.
            raise BadImage(record.label_path, error.cause if isinstance(error, InputError) else error.reason) from None

    def _photo(self, path: str, record: SemanticRecord) -> Decoded:
        """At the largest size a view can ask for."""
        found = read_image(path, short_side=round(self.views.short_side * self.views.scale[1]), max_side=None)
        if found.size_hw != record.size_hw:
            raise BadImage(path, f"is {found.size_hw} and {record.path} {record.size_hw} (height, width)")
        return found


def _at_most(labels: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """Shrunk to `size_hw` without mixing classes, where it is larger."""
    if labels.shape[0] <= size_hw[0]:
        return labels
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size_hw, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]

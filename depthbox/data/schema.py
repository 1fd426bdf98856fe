"""The records of labelled images and of predictions, in the original image's pixels."""

from dataclasses import dataclass

import numpy as np

__all__ = ["CocoData", "Detections", "ImageRecord"]


# Records holding arrays are compared by identity (eq=False): `==` of two arrays has no single truth value.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageRecord:
    """One image and its objects; N may be 0."""

    image_id: int
    path: str
    """Absolute, checked to lie inside the images folder after links are followed."""
    size_hw: tuple[int, int]
    """What the annotations state, in pixels; the decoder checks it against the file."""
    boxes_xyxy: np.ndarray
    """Float32 (N, 4), inside the image, positive area."""
    labels: np.ndarray
    """Int64 (N,), contiguous 0..K-1."""
    crowd: np.ndarray
    """Bool (N,); a crowd is excluded from training and ignored in evaluation."""
    segmentations: tuple[object | None, ...]
    """N entries: COCO polygons, a compressed RLE {"size": [h, w], "counts": str}, or None."""
    annotation_ids: np.ndarray
    """Int64 (N,)."""
    supervision: str = ""
    """What a run may learn from: "masks", "boxes" alone, or "none"; empty: what its method needs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoData:
    """One annotation file, checked."""

    source: str
    records: tuple[ImageRecord, ...]
    """Sorted by image_id."""
    class_names: tuple[str, ...]
    """Label -> name, K entries."""
    category_ids: tuple[int, ...]
    """Label -> category id of the file, ascending."""
    digest: str
    """SHA-256 hex of what was read: images, classes, boxes, and masks where they were asked for."""

    @property
    def has_masks(self) -> bool:
        """There is an object outside crowds, and every one of them has a usable mask, as far as a run may look."""
        usable = [
            segmentation is not None
            for record in self.records
            if record.supervision in ("", "masks")
            for segmentation, crowd in zip(record.segmentations, record.crowd, strict=True)
            if not crowd
        ]
        return bool(usable) and all(usable)

    @property
    def labelled_objects(self) -> tuple[int, ...]:
        """How many objects outside crowds there are of each class, as far as a run may look."""
        counts = np.zeros(len(self.class_names), np.int64)
        for record in self.records:
            if record.supervision != "none":
                np.add.at(counts, record.labels[~record.crowd], 1)
        return tuple(counts.tolist())

    @property
    def labelled_images(self) -> int:
        """How many images those are counted in, with objects or without."""
        return sum(record.supervision != "none" for record in self.records)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """What a model found in one image, in original-image pixels, best first or in any order."""

    image_id: int
    boxes_xyxy: np.ndarray
    """Float32 (N, 4)."""
    scores: np.ndarray
    """Float32 (N,), 0..1."""
    labels: np.ndarray
    """Int64 (N,), 0..K-1."""
    masks: tuple[dict, ...] | None
    """N compressed RLEs {"size": [h, w], "counts": str}; None where the model gives boxes only."""

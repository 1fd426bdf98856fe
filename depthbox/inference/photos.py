"""Predictions for a list of photos: read ahead, found in batches, set aside where unreadable, written down as they come."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from depthbox.data.decode import BadImage, Decoded, read_image
from depthbox.data.quarantine import DecodeGuard
from depthbox.evaluate.figures import overlay
from depthbox.evaluate.label_maps import LabelMap, indexed_png, tinted
from depthbox.evaluate.results import coco_results
from depthbox.inference.predictor import Found, Predictor, without_overlaps

__all__ = ["Answer", "Photo", "PhotoWork", "ahead", "answers"]

In = TypeVar("In")
Out = TypeVar("Out")
OVERLAY_SIDE = 1280
"""Longest side of an overlay in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    image_id: int
    name: str
    """What results call it: relative, with `/` between."""
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one photo."""

    photo: Photo
    row: dict
    """For the journal: size_hw with COCO results or the pixels of each class, or `bad`, why it was set aside."""
    overlay: bytes = b""
    """A JPEG, empty where none is wanted."""
    label_map: bytes = b""
    """A PNG with the class of every pixel, empty of a model that finds objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoWork:
    """What is done with each photo; picklable."""

    category_ids: tuple[int, ...]
    colours: tuple[tuple[int, int, int], ...]
    guard_folder: str
    mask_nms: float | None = None
    overlays: bool = True

    def read(self, photo: Photo, predictor: Predictor) -> Decoded | str:
        """At the size the model wants; in words why not, where it cannot be read."""
        views = predictor.views
        try:
            with DecodeGuard(self.guard_folder).watching(photo.path):
                return read_image(photo.path, short_side=views.short_side, max_side=views.max_side)
        except BadImage as error:
            return error.reason

    def answer(self, photos: Sequence[Photo], read: Sequence[Decoded | str], predictor: Predictor) -> list[Answer]:
        good = [(p, one) for p, one in zip(photos, read, strict=True) if isinstance(one, Decoded)]
        found = predictor.find([one for _, one in good], [p.image_id for p, _ in good])
        of_photo = {one.image_id: (one, decoded) for one, (_, decoded) in zip(found, good, strict=True)}
        bad = {p.image_id: one for p, one in zip(photos, read, strict=True) if isinstance(one, str)}
        return [
            Answer(photo=p, row={"bad": bad[p.image_id]}) if p.image_id in bad else self._good(p, *of_photo[p.image_id])
            for p in photos
        ]

    def _good(self, photo: Photo, found: Found, decoded: Decoded) -> Answer:
        row: dict = {"size_hw": decoded.size_hw}
        label_map = b""
        if isinstance(found, LabelMap):
            row["pixels"] = np.bincount(found.classes.ravel(), minlength=len(self.category_ids)).tolist()
            label_map = indexed_png(found.classes, self.category_ids, self.colours)
        else:
            found = found if self.mask_nms is None else without_overlaps(found, iou=self.mask_nms)
            row["found"] = coco_results([found], self.category_ids)
        picture = self._overlay(photo, found, decoded.size_hw) if self.overlays else b""
        return Answer(photo=photo, row=row, overlay=picture, label_map=label_map)

    def _overlay(self, photo: Photo, found: Found, size_hw: tuple[int, int]) -> bytes:
        side = min(OVERLAY_SIDE, max(size_hw))
        try:
            seen = read_image(photo.path, short_side=None, max_side=side, expect_hw=size_hw).image
        except BadImage:  # gone since it was read
            return b""
        stream = io.BytesIO()
        if isinstance(found, LabelMap):
            picture = tinted(seen, found.classes, self.colours)
        else:
            picture = overlay(seen, found, size_hw=size_hw, by_class=len(self.category_ids) > 1)
        picture.save(stream, "JPEG", quality=88)
        return stream.getvalue()


def answers(photos: Iterable[Photo], work: PhotoWork, predictor: Predictor, *, batch_size: int) -> Iterator[Answer]:
    """In this process: two threads read ahead of the network."""
    batch: list[tuple[Photo, Decoded | str]] = []
    for pair in ahead(lambda photo: (photo, work.read(photo, predictor)), photos, waiting=2 * batch_size + 4):
        batch.append(pair)
        if len(batch) == batch_size:
            yield from work.answer([p for p, _ in batch], [one for _, one in batch], predictor)
            batch = []
    if batch:
        yield from work.answer([p for p, _ in batch], [one for _, one in batch], predictor)


def ahead(function: Callable[[In], Out], items: Iterable[In], *, waiting: int) -> Iterator[Out]:
    """`map` by threads, in order, with at most `waiting` results held: a folder may be larger than memory."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        pending: deque[Future[Out]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

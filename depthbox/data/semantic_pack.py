"""Rows of semantic data -> one rank's share of one step: the same pixels of photo, classes, disparity and neighbours."""

from dataclasses import replace

import numpy as np
import torch

from depthbox.core.shapes import IGNORE
from depthbox.data.config import ViewsConfig
from depthbox.data.pack import outcome_of, padded
from depthbox.data.semantic import SemanticRecord
from depthbox.data.semantic_source import SemanticSource
from depthbox.data.semantic_views import Crop, draw_crop, moved_camera, shown
from depthbox.data.source import Packed, PackedFrames, Rows
from depthbox.data.views import strong_view
from depthbox.depth.disturb import disturb

__all__ = ["pack_semantic"]

_NO_CAMERA = (np.nan,) * 4


def pack_semantic(source: SemanticSource, rows: Rows) -> Packed:
    """The views of one step's rows (same step throughout), padded to the size of the global batch."""
    step, slots = int(rows["step"][0]), [int(slot) for slot in rows["slot"]]
    records = [source.data.records[int(index)] for index in rows["index"]]
    canvas = _canvas(source, step)
    crops = [_within(_crop(source, record, step, slot), canvas) for record, slot in zip(records, slots, strict=True)]
    weak = [_pixels(image, crop) for image, crop in zip(rows["image"], crops, strict=True)]
    colours = ViewsConfig(jitter=source.views.jitter, grey=0.0, blur=source.views.blur)
    strong = (
        [_recoloured(source, view, colours, step, slot) for view, slot in zip(weak, slots, strict=True)]
        if source.views.jitter or source.views.blur
        else []
    )
    disparity = _disparities(source, rows, records, crops)
    truth = padded(
        [_classes(labels, crop) for labels, crop in zip(rows["labels"], crops, strict=True)], canvas, IGNORE
    )[:, 0]
    unlabelled = np.array([record.supervision == "none" for record in records])
    shown_classes = np.where(unlabelled[:, None, None], np.uint8(IGNORE), truth)
    return Packed(
        step=step,
        weak=padded(weak, canvas, 0),
        strong=padded(strong, canvas, 0) if strong else None,
        teacher=None,
        disparity=padded(disparity, canvas, np.nan) if disparity else None,
        sizes_hw=tuple(crop.view_hw for crop in crops),
        teacher_sizes_hw=(),
        boxes=tuple(np.zeros((0, 4), np.float32) for _ in slots),
        labels=tuple(np.zeros(0, np.int64) for _ in slots),
        masks=None,
        image_ids=tuple(record.image_id for record in records),
        outcome=outcome_of(rows),
        supervision=tuple(record.supervision for record in records),
        frames=None if source.frames_hw is None else _frames(source, rows, records, crops, weak),
        semantic=shown_classes,
        semantic_truth=truth if unlabelled.any() else None,
    )


def _crop(source: SemanticSource, record: SemanticRecord, step: int, slot: int) -> Crop:
    return draw_crop(
        source.views, record.size_hw, seed=source.plan.seed, step=step, slot=slot, stretch_to=source.frames_hw
    )


def _within(crop: Crop, canvas: tuple[int, int]) -> Crop:
    """A stand-in for an unreadable photo may be larger than what was planned: its corner is seen."""
    return replace(crop, view_hw=(min(crop.view_hw[0], canvas[0]), min(crop.view_hw[1], canvas[1])))


def _canvas(source: SemanticSource, step: int) -> tuple[int, int]:
    """The padded size of a step: the largest of the global batch, in multiples of 32; the square of a crop."""
    if source.views.crop:
        return source.views.crop, source.views.crop
    sizes = [_crop(source, source.data.records[i], step, 0).view_hw for i in source.plan.indices(step)]
    return -(-max(h for h, _ in sizes) // 32) * 32, -(-max(w for _, w in sizes) // 32) * 32


def _pixels(image: np.ndarray, crop: Crop) -> np.ndarray:
    return shown(np.asarray(image).transpose(2, 0, 1), crop).round().to(torch.uint8).numpy()


def _recoloured(source: SemanticSource, view: np.ndarray, colours: ViewsConfig, step: int, slot: int) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(view))
    return strong_view(pixels, colours, seed=source.plan.seed, step=step, slot=slot).numpy()


def _classes(labels: np.ndarray, crop: Crop) -> np.ndarray:
    """Uint8 "1 H W"."""
    if not np.size(labels):
        return np.full((1, *crop.view_hw), IGNORE, np.uint8)
    return shown(np.asarray(labels)[None], crop, mode="nearest-exact").to(torch.uint8).numpy()


def _disparities(
    source: SemanticSource, rows: Rows, records: list[SemanticRecord], crops: list[Crop]
) -> list[np.ndarray]:
    if "disparity" not in rows:
        return []
    out = []
    for given, record, crop in zip(rows["disparity"], records, crops, strict=True):
        values = np.array(given, np.float32)
        values = disturb(values, source.disturb, seed=source.plan.seed, image_id=record.image_id)
        mode = "bilinear" if np.isfinite(values).all() else "nearest-exact"
        out.append(shown(values[None], crop, mode=mode).numpy().astype(np.float16))
    return out


def _frames(
    source: SemanticSource, rows: Rows, records: list[SemanticRecord], crops: list[Crop], weak: list[np.ndarray]
) -> PackedFrames:
    """Target, before, after; a photo without neighbours stands in for them, with a camera of NaN."""
    step, slots = int(rows["step"][0]), [int(slot) for slot in rows["slot"]]
    plain = np.stack(
        [
            np.stack([view, *([_pixels(one, crop) for one in near] if np.size(near) else [view, view])])
            for view, near, crop in zip(weak, rows["neighbours"], crops, strict=True)
        ]
    )
    cameras = [
        moved_camera(record.intrinsics, crop) if record.intrinsics else _NO_CAMERA
        for record, crop in zip(records, crops, strict=True)
    ]
    strong = None
    if source.views.jitter:
        colours = ViewsConfig(jitter=source.views.jitter, grey=0.0, blur=0.0)
        strong = np.stack(
            [
                np.stack([_recoloured(source, frame, colours, step, slot) for frame in frames])
                for frames, slot in zip(plain, slots, strict=True)
            ]
        )
    return PackedFrames(plain=plain, strong=strong, intrinsics=np.array(cameras, np.float32))

"""Decoded rows -> one rank's share of one step, as it travels (`pack`), and as the tensors a method works on (`unpack`)."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthbox.core.batch import Batch, Frames, Instances, TeacherView, Views
from depthbox.data.decode import rasterise
from depthbox.data.geometry import Geometry, draw_geometry, largest_geometry
from depthbox.data.schema import ImageRecord
from depthbox.data.source import DepthOutcome, Objects, Packed, Rows, Source
from depthbox.data.views import strong_view, transform_boxes, transform_map, transform_masks
from depthbox.depth.disturb import disturb

__all__ = ["outcome_of", "pack", "padded", "unpack"]


def pack(source: Source, rows: Rows) -> Packed:
    """The views of one step's rows (same step throughout), padded to the size of the global batch."""
    step = int(rows["step"][0])
    items = [_view(source, rows, i) for i in range(len(rows["step"]))]
    canvas = _canvas(source, step)
    strong = [item.strong for item in items if item.strong is not None]
    teacher = _teacher_views(source, rows, step)
    disparity = [item.disparity for item in items if item.disparity is not None]
    return Packed(
        step=step,
        weak=padded([item.weak for item in items], canvas, 0),
        strong=padded(strong, canvas, 0) if strong else None,
        teacher=padded(teacher, _canvas(source, step, largest_geometry), 0) if teacher else None,
        disparity=padded(disparity, canvas, np.nan) if disparity else None,
        sizes_hw=tuple(item.size_hw for item in items),
        teacher_sizes_hw=tuple((view.shape[1], view.shape[2]) for view in teacher),
        boxes=tuple(item.objects.boxes for item in items),
        labels=tuple(item.objects.labels for item in items),
        masks=tuple(item.objects.masks for item in items) if source.masks else None,
        image_ids=tuple(item.image_id for item in items),
        outcome=outcome_of(rows),
        supervision=tuple(item.word for item in items if item.word),
        truth=tuple(item.truth for item in items if item.word),
    )


def _view(source: Source, rows: Rows, i: int) -> "_Item":
    step, slot = int(rows["step"][i]), int(rows["slot"][i])
    record = source.data.records[int(rows["index"][i])]
    geometry = _geometry(source, record, step, slot)
    weak = _resized(rows["image"][i], geometry)
    strong = (
        strong_view(weak, source.views, seed=source.plan.seed, step=step, slot=slot).numpy()
        if any((source.views.jitter, source.views.grey, source.views.blur, source.views.erase))
        else None
    )
    objects, truth = _objects(source, record, geometry)
    return _Item(
        weak=weak.numpy(),
        strong=strong,
        disparity=_disparity(source, record, rows, i, geometry),
        size_hw=geometry.size_hw,
        objects=objects,
        truth=truth,
        word=record.supervision,
        image_id=record.image_id,
    )


def _teacher_views(source: Source, rows: Rows, step: int) -> list[np.ndarray]:
    """The photos at the largest size, once a teacher looks; none where the student's view is that large anyway."""
    if source.teacher_from is None or step < source.teacher_from or source.views.scale[0] == source.views.scale[1]:
        return []
    records = [source.data.records[int(index)] for index in rows["index"]]
    geometries = [
        _geometry(source, record, step, int(slot), largest_geometry)
        for record, slot in zip(records, rows["slot"], strict=True)
    ]
    return [_resized(image, g).numpy() for image, g in zip(rows["image"], geometries, strict=True)]


def _resized(image: np.ndarray, geometry: Geometry) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    return transform_map(pixels, geometry).round().to(torch.uint8)


def _objects(source: Source, record: ImageRecord, geometry: Geometry) -> tuple[Objects, Objects | None]:
    """What the run may learn from, and what an image without labels is known to hold. No object in the file: nothing is known."""
    kept = ~record.crowd
    if record.supervision != "none":
        return _seen(record, kept, geometry, masks=source.masks and record.supervision != "boxes"), None
    drawn = [mask for mask, k in zip(record.segmentations, kept, strict=True) if k]
    truth = _seen(record, kept, geometry, masks=source.masks and None not in drawn) if kept.any() else None
    return _seen(record, np.zeros_like(kept), geometry, masks=source.masks), truth


def _seen(record: ImageRecord, kept: np.ndarray, geometry: Geometry, *, masks: bool) -> Objects:
    boxes = transform_boxes(record.boxes_xyxy[kept], record.size_hw, geometry).numpy()
    if not masks:
        return Objects(boxes=boxes, labels=record.labels[kept], masks=None)
    shapes = [rasterise(s, record.size_hw) for s, k in zip(record.segmentations, kept, strict=True) if k]
    moved = transform_masks(np.stack(shapes) if shapes else np.zeros((0, 1, 1), bool), geometry).numpy()
    return Objects(boxes=boxes, labels=record.labels[kept], masks=np.packbits(moved, axis=-1))


def _geometry(
    source: Source, record: ImageRecord, step: int, slot: int, draw: Callable[..., Geometry] = draw_geometry
) -> Geometry:
    """As drawn; a stand-in for an unreadable image is made to fit the canvas that was planned."""
    geometry = draw(source.views, record.size_hw, seed=source.plan.seed, step=step, slot=slot)
    canvas = _canvas(source, step, draw)
    if geometry.size_hw[0] <= canvas[0] and geometry.size_hw[1] <= canvas[1]:
        return geometry
    factor = min(canvas[0] / geometry.size_hw[0], canvas[1] / geometry.size_hw[1])
    return Geometry(
        size_hw=(max(1, int(geometry.size_hw[0] * factor)), max(1, int(geometry.size_hw[1] * factor))),
        flip=geometry.flip,
    )


def _canvas(source: Source, step: int, draw: Callable[..., Geometry] = draw_geometry) -> tuple[int, int]:
    """The padded size of a step: the largest of the *global* batch, in multiples of 32, so that padding does not depend on the world size."""
    records = [source.data.records[i] for i in source.plan.indices(step)]
    sizes = [draw(source.views, r.size_hw, seed=source.plan.seed, step=step, slot=0).size_hw for r in records]
    return -(-max(h for h, _ in sizes) // 32) * 32, -(-max(w for _, w in sizes) // 32) * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    weak: np.ndarray
    strong: np.ndarray | None
    disparity: np.ndarray | None
    size_hw: tuple[int, int]
    objects: Objects
    truth: Objects | None
    word: str
    image_id: int


def unpack(packed: Packed) -> Batch:
    """The tensors a method works on."""
    weak = torch.from_numpy(packed.weak).float() / 255
    strong = weak if packed.strong is None else torch.from_numpy(packed.strong).float() / 255
    valid = torch.zeros((len(weak), *weak.shape[-2:]), dtype=torch.bool)
    for mask, (height, width) in zip(valid, packed.sizes_hw, strict=True):
        mask[:height, :width] = True
    disparity = None if packed.disparity is None else torch.from_numpy(packed.disparity).float()
    views = Views(weak=weak, strong=strong, disparity=disparity, valid=valid, teacher=_teacher(packed))
    masks = packed.masks or (None,) * len(weak)
    shown = [Objects(boxes=b, labels=n, masks=m) for b, n, m in zip(packed.boxes, packed.labels, masks, strict=True)]
    return Batch(
        views=views,
        instances=[_instances(packed, i, objects) for i, objects in enumerate(shown)],
        image_ids=packed.image_ids,
        supervision=packed.supervision,
        frames=_frames(packed),
        semantic=None if packed.semantic is None else torch.from_numpy(packed.semantic).long(),
        semantic_truth=None if packed.semantic_truth is None else torch.from_numpy(packed.semantic_truth).long(),
        truth=[None if known is None else _instances(packed, i, known) for i, known in enumerate(packed.truth)],
    )


def _frames(packed: Packed) -> Frames | None:
    if packed.frames is None:
        return None
    plain = torch.from_numpy(packed.frames.plain).float() / 255
    strong = plain if packed.frames.strong is None else torch.from_numpy(packed.frames.strong).float() / 255
    return Frames(plain=plain, strong=strong, intrinsics=torch.from_numpy(packed.frames.intrinsics))


def _teacher(packed: Packed) -> TeacherView | None:
    if packed.teacher is None:
        return None
    own, larger = torch.tensor(packed.sizes_hw), torch.tensor(packed.teacher_sizes_hw)
    return TeacherView(images=torch.from_numpy(packed.teacher).float() / 255, scale_xy=(larger / own).flip(1))


def _instances(packed: Packed, i: int, objects: Objects) -> Instances:
    masks = None
    if objects.masks is not None:
        height, width = packed.sizes_hw[i]
        masks = torch.zeros((len(objects.boxes), *packed.weak.shape[-2:]), dtype=torch.bool)
        masks[:, :height, :width] = torch.from_numpy(np.unpackbits(objects.masks, axis=-1, count=width).astype(bool))
    return Instances(boxes_xyxy=torch.from_numpy(objects.boxes), labels=torch.from_numpy(objects.labels), masks=masks)


def _disparity(source: Source, record: ImageRecord, rows: Rows, i: int, geometry: Geometry) -> np.ndarray | None:
    if "disparity" not in rows:
        return None
    given = np.array(rows["disparity"][i], dtype=np.float32)
    disturbed = disturb(given, source.disturb, seed=source.plan.seed, image_id=record.image_id)
    values: Tensor = torch.from_numpy(disturbed)[None]
    if not torch.isfinite(values).all():
        return transform_map(values, geometry, mode="nearest-exact").numpy().astype(np.float16)
    return transform_map(values, geometry).numpy().astype(np.float16)


def outcome_of(rows: Rows) -> DepthOutcome:
    bad = tuple(item for blob in rows["bad"] for item in pickle.loads(blob))
    counted = {name: int(np.sum(rows[name])) if name in rows else 0 for name in ("depth_inferred", "depth_hit")}
    return DepthOutcome(
        indices=tuple(int(i) for i in rows["index"]),
        bad=bad,
        inferences=counted["depth_inferred"],
        hits=counted["depth_hit"],
    )


def padded(maps: Sequence[np.ndarray], canvas: tuple[int, int], fill: float) -> np.ndarray:
    out = np.full((len(maps), maps[0].shape[0], *canvas), fill, dtype=maps[0].dtype)
    for target, values in zip(out, maps, strict=True):
        target[:, : values.shape[1], : values.shape[2]] = values
    return out

"""The picture a run ends with: photo, boxes, disparity, prediction, truth for a few validation images.

Depth maps from a folder belong to training photos alone, so that a run with such has a few of these below, with what its depth says.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.geometry import target_size
from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.depth.disturb import disturb
from depthbox.depth.estimator import DepthEstimator, build_estimator
from depthbox.evaluate.figures import Row, image_grid
from depthbox.experiment import DataConfig
from depthbox.supervision.config import BoxDepthConfig
from depthbox.train.job import Job

__all__ = ["picture_of_run", "read_detections"]

SHOWN, SHOWN_OF_TRAINING = 6, 3


def picture_of_run(job: Job) -> Path | None:
    """Write `out/predictions.png`; None where no photo can be shown."""
    rows = list(_rows(job))
    return image_grid(rows, job.out / "predictions.png", class_names=job.classes, min_score=0.5) if rows else None


def _rows(job: Job) -> Iterator[Row]:
    assert isinstance(job.val, CocoData) and isinstance(job.source.data, CocoData)
    by_image = read_detections(job.out / "detections.json", {c: i for i, c in enumerate(job.val.category_ids)})
    estimator = _estimator(job)
    mapped = job.depth is not None and job.depth.spec.startswith("maps:")
    shown = [
        *((record, by_image.get(record.image_id), None if mapped else estimator) for record in job.val.records[:SHOWN]),
        *((record, None, estimator) for record in job.source.data.records[: SHOWN_OF_TRAINING if mapped else 0]),
    ]
    for record, found, depth in shown:
        row = _row(job, record, found, depth)
        if row is not None:
            yield row


def read_detections(path: Path, labels: dict[int, int]) -> dict[int, Detections]:
    """A COCO results file by image; `labels` maps category ids to 0..K-1."""
    grouped: dict[int, list[dict]] = {}
    for row in json.loads(path.read_text()):
        grouped.setdefault(row["image_id"], []).append(row)
    return {image_id: _detections(image_id, rows, labels) for image_id, rows in grouped.items()}


def _detections(image_id: int, rows: list[dict], labels: dict[int, int]) -> Detections:
    boxes = np.array([r["bbox"] for r in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = tuple(r["segmentation"] for r in rows) if all("segmentation" in r for r in rows) else None
    return Detections(
        image_id=image_id,
        boxes_xyxy=boxes,
        scores=np.array([r["score"] for r in rows], np.float32),
        labels=np.array([labels[r["category_id"]] for r in rows], np.int64),
        masks=masks,
    )


def _row(job: Job, record: ImageRecord, found: Detections | None, estimator: DepthEstimator | None) -> Row | None:
    try:
        photo = read_image(record.path, short_side=None, max_side=None, expect_hw=record.size_hw).image
        disparity = None
        if estimator is not None:
            disparity = _disturbed(job, record, estimator.disparity([photo], [record.path])[0])
    # A photo or a map that cannot be read: the run is over and needs no picture of it.
    except (BadImage, InputError):
        return None
    edges = None if disparity is None else _active_edges(job, photo, disparity)
    return Row(photo=photo, truth=record, disparity=disparity, depth_edges=edges, prediction=found)


def _disturbed(job: Job, record: ImageRecord, disparity: np.ndarray) -> np.ndarray:
    """As the run has learnt from it."""
    return disturb(disparity, job.source.disturb, seed=job.source.plan.seed, image_id=record.image_id)


def _estimator(job: Job) -> DepthEstimator | None:
    """For the eye only; a run without depth shows none."""
    if job.depth is None:
        return None
    return build_estimator(job.depth.spec, device="cpu", maps_kind=job.depth.maps_kind, maps_zero=job.depth.maps_zero)


def _active_edges(job: Job, photo: np.ndarray, disparity: np.ndarray) -> np.ndarray | None:
    """Of each cell of stride 4, at the plain size, the share of its neighbours that depth ties it to."""
    import torch
    import torch.nn.functional as F

    from depthbox.core.batch import Views
    from depthbox.core.shapes import MASK_STRIDE
    from depthbox.ops.pairwise import active_share_at
    from depthbox.supervision.parts.edges import active_edges

    config, data = job.experiment.method, job.experiment.data
    if not isinstance(config, BoxDepthConfig) or not isinstance(data, DataConfig):
        return None
    views = data.views
    height, width = target_size(
        (disparity.shape[0], disparity.shape[1]), short_side=views.short_side, max_side=views.max_side
    )
    size = (height // MASK_STRIDE * MASK_STRIDE, width // MASK_STRIDE * MASK_STRIDE)
    values = F.interpolate(
        torch.from_numpy(disparity).float()[None, None], size=size, mode="bilinear", align_corners=False
    )
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1).float()[None] / 255
    weak = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    seen = Views(weak=weak, strong=weak, disparity=values, valid=torch.ones(1, *size, dtype=torch.bool))
    edges = active_edges(seen, config, depth=True)["depth_affinity"]
    return active_share_at(edges, dilation=config.dilation)[0].numpy()

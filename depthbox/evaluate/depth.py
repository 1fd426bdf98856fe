"""A depth network over the frames of a video that have measured depth: every frame once on any world size, scaled by the median."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthbox.core.dist import gather_objects, rank, world_size
from depthbox.data.decode import BadImage, read_image
from depthbox.data.video import FrameRecord, VideoData
from depthbox.depth.maps import read_inverse, zero_finding
from depthbox.depth.quality import map_scores, mean_defined, resized_map
from depthbox.depth.trained import inverse_depth
from depthbox.evaluate.instance import Scores
from depthbox.models.sde_net import SdeNetwork
from depthbox.supervision.config import SdeConfig

__all__ = ["COLLAPSED", "evaluate_video", "meaning_of_zero"]

COLLAPSED = 0.05
"""Deviation of inverse depth over its mean, below which an image's depth is a constant in all but name."""

_LOOKED_AT = 8
_SCALED = "depth from video has no unit: every map was scaled so that its median is that of its truth"


def evaluate_video(
    model: SdeNetwork, data: VideoData, *, config: SdeConfig, short_side: int, kind: str, zero: str
) -> Scores:
    """Means over frames of the numbers of `map_scores` with median scaling, those of the prior "lower is nearer", and `disparity_spread`."""
    records = [record for record in data.records if record.depth]
    was_training = model.training
    model.eval()
    limits = {"nearest": config.nearest, "farthest": config.farthest}
    mine = [
        row
        for record in records[rank() :: world_size()]
        if (row := _row(model, record, kind=kind, zero=zero, short_side=short_side, **limits)) is not None
    ]
    model.train(was_training)
    rows = [row for part in gather_objects(mine) for row in part]
    if not rows:
        return Scores(values={}, note=f"{data.source}: no measured depth beside the frames; nothing was scored")
    values = {key: mean_defined([row[key] for row in rows]) for key in rows[0]}
    return Scores(values=values, note="; ".join([*_collapse(values["disparity_spread"]), _SCALED]))


def meaning_of_zero(records: Sequence[FrameRecord], *, kind: str, zero: str) -> str:
    """`auto`: a 0 is `missing` where zeros lie below something measured, as a sensor's holes do, else `far` (sky)."""
    with_depth = [record.depth for record in records if record.depth]
    if zero != "auto" or not with_depth:
        return "far" if zero == "auto" else zero
    chosen = with_depth[:: max(1, len(with_depth) // _LOOKED_AT)][:_LOOKED_AT]
    maps = [read_inverse(Path(path), kind=kind, zero="far") for path in chosen]
    return "missing" if zero_finding(maps) else "far"


def _row(model: SdeNetwork, record: FrameRecord, *, kind: str, zero: str, **options: float) -> dict[str, float] | None:
    try:
        image = read_image(record.path, short_side=None, max_side=None).image
    except BadImage:
        return None
    truth = read_inverse(Path(record.depth), kind=kind, zero=zero)
    found = inverse_depth(model, image, **options)[0, 0].float().cpu().numpy()  # type: ignore[arg-type]
    prior = np.broadcast_to(np.linspace(0, 1, truth.shape[0])[:, None], truth.shape)
    scores = map_scores(resized_map(found, truth.shape), truth, "median", record.depth)
    lower = map_scores(prior, truth, "median", record.depth)
    named = {f"prior_{key}": lower[key] for key in ("spearman", "abs_rel")}
    return {**scores, **named, "disparity_spread": float(found.std() / found.mean())}


def _collapse(spread: float) -> list[str]:
    if spread >= COLLAPSED:
        return []
    return [f"the depth has collapsed to a constant (spread {spread:.3f}): does the camera move? try more data.gap="]

"""A depth network over the frames of a video that have measured depth: every frame once on any world size, scaled by the median."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from depthbox.core.dist import gather_objects, rank, world_size
from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.video import FrameRecord, VideoData
from depthbox.depth.estimator import same_aspect
from depthbox.depth.maps import read_inverse, zero_finding
from depthbox.depth.quality import map_scores, mean_defined, resized_map
from depthbox.depth.trained import inverse_depth
from depthbox.evaluate.instance import Scores
from depthbox.models.sde_net import SdeNetwork
from depthbox.supervision.config import SdeConfig

__all__ = ["COLLAPSED", "evaluate_video", "meaning_of_zero", "measured"]

COLLAPSED = 0.05
"""Deviation of inverse depth over its mean, below which an image's depth is a constant in all but name."""

_LOOKED_AT = 8
_SCALED = "depth from video has no unit: every map was scaled so that its median is that of its truth"


def evaluate_video(
    model: SdeNetwork, data: VideoData, *, config: SdeConfig, short_side: int, kind: str, zero: str
) -> Scores:
    """Means over frames of the numbers of `map_scores` with median scaling, those of the prior "lower is nearer", and `disparity_spread`.

    A frame that cannot be scored is left out, and said in the note: it is no reason to lose a finished run.
    """
    records = [record for record in data.records if record.depth]
    was_training = model.training
    model.eval()
    limits = {"nearest": config.nearest, "farthest": config.farthest}
    mine = [
        _row(model, record, kind=kind, zero=zero, short_side=short_side, **limits)
        for record in records[rank() :: world_size()]
    ]
    model.train(was_training)
    found = [row for part in gather_objects(mine) for row in part]
    rows, faults = [row for row in found if isinstance(row, dict)], [row for row in found if isinstance(row, str)]
    notes = [f"{len(faults)} of {len(found)} frames were not scored, such as {faults[0]}"] if faults else []
    if not rows:
        nothing = [f"{data.source}: no measured depth beside the frames; nothing was scored"]
        return Scores(values={}, note="; ".join(notes or nothing))
    values = {key: mean_defined([row[key] for row in rows]) for key in rows[0]}
    return Scores(values=values, note="; ".join([*_collapse(values["disparity_spread"]), *notes, _SCALED]))


def meaning_of_zero(records: Sequence[FrameRecord], *, kind: str, zero: str) -> str:
    """`auto`: a 0 is `missing` where zeros lie below something measured, as a sensor's holes do, else `far` (sky)."""
    with_depth = [record.depth for record in records if record.depth]
    if zero != "auto" or not with_depth:
        return "far" if zero == "auto" else zero
    chosen = with_depth[:: max(1, len(with_depth) // _LOOKED_AT)][:_LOOKED_AT]
    maps = []
    for path in chosen:
        with suppress(InputError):  # said when its frame is scored
            maps.append(read_inverse(Path(path), kind=kind, zero="far"))
    return "missing" if maps and zero_finding(maps) else "far"


def measured(record: FrameRecord, *, kind: str, zero: str) -> tuple[np.ndarray, dict[str, float]]:
    """The measured 1/z of a frame, and the scores of the prior. Raises `InputError` where nothing can be scored by it."""
    truth = read_inverse(Path(record.depth), kind=kind, zero=zero)
    if not same_aspect(truth.shape, record.size_hw):
        have, want = (f"{height}x{width}" for height, width in (truth.shape, record.size_hw))
        cause = f"the map is {have}, its frame {want} (height x width): not the same aspect"
        raise InputError(record.depth, "", cause, "give the frame's own map")
    prior = np.broadcast_to(np.linspace(0, 1, truth.shape[0])[:, None], truth.shape)
    return truth, map_scores(prior, truth, "median", record.depth)


def _row(model: SdeNetwork, record: FrameRecord, *, kind: str, zero: str, **options: float) -> dict[str, float] | str:
    """The numbers of a frame, or why it has none."""
    try:
        image = read_image(record.path, short_side=None, max_side=None).image
        truth, lower = measured(record, kind=kind, zero=zero)
    except (BadImage, InputError) as error:
        return str(error).replace("depth.maps.", "data.depth_")
    found = inverse_depth(model, image, **options)[0, 0].float().cpu().numpy()  # type: ignore[arg-type]
    scores = map_scores(resized_map(found, truth.shape), truth, "median", record.depth)
    named = {f"prior_{key}": lower[key] for key in ("spearman", "abs_rel")}
    return {**scores, **named, "disparity_spread": float(found.std() / found.mean())}


def _collapse(spread: float) -> list[str]:
    if spread >= COLLAPSED:
        return []
    return [f"the depth has collapsed to a constant (spread {spread:.3f}): does the camera move? try more data.gap="]

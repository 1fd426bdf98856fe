"""An experiment on video -> a job: sequences and networks checked before anything starts."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from depthbox.core.errors import InputError, UsageError
from depthbox.data.plan import Plan
from depthbox.data.video import FrameRecord, VideoData, read_video
from depthbox.data.video_source import VideoSource
from depthbox.depth.disturb import DisturbConfig
from depthbox.evaluate.depth import meaning_of_zero, measured
from depthbox.experiment import DepthConfig, Experiment, VideoDataConfig, VideoSplitConfig
from depthbox.models.config import SdeModelConfig
from depthbox.models.sde_net import input_size
from depthbox.supervision.config import SdeConfig
from depthbox.train.inputs import data_copy, data_root
from depthbox.train.job import Job
from depthbox.train.state import initial_model

__all__ = ["prepare_video"]

log = logging.getLogger("depthbox")

LOOKED_AT = 8
"""Depth maps that are read before a run starts."""

LARGEST_SCALE = 4
"""Of `data.views.scale`: of a frame that is enlarged further hardly anything is left in view."""


def prepare_video(experiment: Experiment, *, run_id: str = "") -> Job:
    """Read the sequences and make the job. Raises `InputError` or `UsageError` in words."""
    data = cast(VideoDataConfig, experiment.data)
    _check_settings(experiment)
    copy = data_copy(data.root)
    root = Path(copy.folder) if copy else data_root(data.root)
    train = _read(root, data, data.train, "data.train", data.gap)
    # A frame is scored once.
    val = _read(root, data, data.val, "data.val", train.gaps[:1]) if data.val.sequences else None
    if val:
        _check_scores(train, val, data)
    for finding in [*train.findings, *(val.findings if val else ())]:
        log.warning("%s", finding)
    plan = Plan(images=len(train.records), batch_size=experiment.batch_size, seed=experiment.seed)
    plan.share(0, experiment.workers)
    initial_model(experiment, classes=())
    out = Path(experiment.out).absolute()
    source = VideoSource(
        copy=copy,
        data=train,
        plan=plan,
        views=data.views,
        masks=False,
        guard_folder=str(out / "decoding"),
        size_hw=input_size(train.records[0].size_hw, short_side=data.views.short_side),
    )
    return Job(experiment=experiment, source=source, val=val, depth=None, out=out, run_id=run_id)


def _read(root: Path, data: VideoDataConfig, split: VideoSplitConfig, name: str, gaps: Sequence[int]) -> VideoData:
    return read_video(root, split.sequences, name=name, gaps=gaps, frames=data.frames, depths=data.depths)


def _check_scores(train: VideoData, val: VideoData, data: VideoDataConfig) -> None:
    """Says what scores will not mean. Raises `InputError` where there would be none though depth maps were given: a run takes an hour."""
    seen = {record.path for record in train.records}
    if shared := sum(record.path in seen for record in val.records):
        said = "%s: %d of %d frames of data.val are trained on as well: their scores do not say how others would do"
        log.warning(said, val.source, shared, len(val.records))
    if with_depth := [record for record in val.records if record.depth]:
        _check_maps(with_depth[:: max(1, len(with_depth) // LOOKED_AT)][:LOOKED_AT], data)
    elif data.depths:
        cause = f"no frame of data.val has a map of data.depths={data.depths}"
        raise InputError(val.source, "", cause, "correct the pattern, or leave it out")
    else:
        said = "%s: no depth map beside the frames of data.val, so that nothing will be scored; data.depths=PATTERN names them"
        log.warning(said, val.source)


def _check_maps(records: Sequence[FrameRecord], data: VideoDataConfig) -> None:
    """Raises `InputError` where none of the maps can be used."""
    zero = meaning_of_zero(records, kind=data.depth_kind, zero=data.depth_zero)
    faults = []
    for record in records:
        try:
            measured(record, kind=data.depth_kind, zero=zero)
        except InputError as error:
            faults.append(error)
    if len(faults) == len(records):
        cause = str(faults[0]).replace("depth.maps.", "data.depth_")
        raise InputError("data.val", "no depth map can be used", cause, "set data.depth_kind=, or data.depths=PATTERN")


def _check_settings(experiment: Experiment) -> None:
    """Raises `UsageError` for a setting that cannot have an effect, or makes no sense."""
    method, model = cast(SdeConfig, experiment.method), cast(SdeModelConfig, experiment.model)
    views = cast(VideoDataConfig, experiment.data).views
    if experiment.depth != DepthConfig(source="none", cache=experiment.depth.cache, disturb=DisturbConfig()):
        raise UsageError("depth.source: sde learns depth from the video alone; leave depth.* out")
    if method.weights.feature_distance and model.weights == "none":
        raise UsageError("method.weights.feature_distance needs pretrained weights to stay near to; set model.weights")
    if not 0 < method.nearest < method.farthest:
        raise UsageError(
            f"method.nearest={method.nearest:g} method.farthest={method.farthest:g}: allowed is 0 < nearest < farthest"
        )
    if views.short_side < 32 or views.short_side % 32:
        raise UsageError(f"data.views.short_side={views.short_side}: takes a multiple of 32")
    if not 1 <= views.scale[0] <= views.scale[1] <= LARGEST_SCALE:
        low, high = views.scale
        raise UsageError(f"data.views.scale={low:g},{high:g}: allowed is 1 <= smallest <= largest <= {LARGEST_SCALE}")
    if not 0 <= views.jitter < 1 or not 0 <= views.flip <= 1:
        raise UsageError("data.views: jitter from 0 to below 1, flip from 0 to 1")
    if model.width < 8 or model.width % 8:
        raise UsageError(f"model.width={model.width}: takes a multiple of 8, for group norm")

"""An experiment on photos with a class for every pixel -> a job: data, disparity and network checked before anything starts."""

import logging
from pathlib import Path
from typing import cast

from depthbox.core.errors import UsageError
from depthbox.data.semantic import SemanticData
from depthbox.data.semantic_source import SemanticSource
from depthbox.depth.disturb import DisturbConfig
from depthbox.experiment import Experiment, SemanticDataConfig
from depthbox.models.config import DenseModelConfig
from depthbox.models.sde_net import input_size
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.refused import check_ssda
from depthbox.train.depth_setup import depth_setup
from depthbox.train.inputs import data_copy, data_root
from depthbox.train.job import Job
from depthbox.train.semantic_data import semantic_sets
from depthbox.train.state import initial_model
from depthbox.train.transfer import said_of_transfer

__all__ = ["prepare_semantic"]

log = logging.getLogger("depthbox")


def prepare_semantic(experiment: Experiment, *, run_id: str = "") -> Job:
    """Read photos and label maps and make the job. Raises `InputError` or `UsageError` in words."""
    data = cast(SemanticDataConfig, experiment.data)
    model, method = cast(DenseModelConfig, experiment.model), cast(DepthSsdaConfig, experiment.method)
    _check_settings(method, model, data)
    copy = data_copy(data.root)
    root = Path(copy.folder) if copy else data_root(data.root)
    sets = semantic_sets(experiment, root)
    photos = [record.path for record in sets.train.records]
    wanted = _depth_wanted(experiment)
    depth = depth_setup(experiment.depth, root, photos, uri=experiment.tracking.uri) if wanted else None
    check_ssda(method, depth=depth is not None, source=bool(data.source.images), multi_task=model.multi_task)
    if data.pairing == "geometry" and depth is None:
        raise UsageError("data.pairing=geometry pairs by disparity; set depth.source")
    network = initial_model(experiment, classes=sets.train.class_names)
    if model.init:
        log.info("%s", said_of_transfer(network, model.init, classes=sets.train.class_names))
    out = Path(experiment.out).absolute()
    source = SemanticSource(
        copy=copy,
        disturb=experiment.depth.disturb,
        data=sets.train,
        plan=sets.plan,
        views=data.views,
        masks=False,
        guard_folder=str(out / "decoding"),
        frames_hw=_stretched(sets.train, data) if data.gap else None,
    )
    return Job(experiment=experiment, source=source, val=sets.val, depth=depth, out=out, run_id=run_id)


def _stretched(train: SemanticData, data: SemanticDataConfig) -> tuple[int, int]:
    """The size that every photo takes, from the first one with neighbours: one without a readable header is 1 x 1."""
    first = next(record for record in train.records if record.intrinsics)
    return input_size(first.size_hw, short_side=data.views.short_side)


def _check_settings(method: DepthSsdaConfig, model: DenseModelConfig, data: SemanticDataConfig) -> None:
    """Raises `UsageError` for settings that do not go together, before any file is read."""
    if model.width < 8 or model.width % 8:
        raise UsageError(f"model.width={model.width}: takes a multiple of 8, for group norm")
    if model.multi_task and not data.gap:
        raise UsageError("model.multi_task learns depth from the frames beside a photo; set data.gap=1 or more")
    if data.gap and not model.multi_task:
        raise UsageError(f"data.gap={data.gap} has no effect without model.multi_task")
    pose = [name for name in ("pose_backbone", "pose_weights", "pose_stride") if _changed(model, name)]
    if pose and not model.multi_task:
        raise UsageError(f"model.{pose[0]} is of the depth task; set model.multi_task")
    shown = data.labelled_share + data.source_share
    if shown < 1 and method.mixing == "none" and not method.cross_domain and not model.multi_task:
        raise UsageError(
            f"{1 - shown:.0%} of a step have no labels, and nothing learns from them: set method.mixing, method.cross_domain, or "
            "data.labelled_share=1"
        )
    if data.source_share == 1 and (method.mixing != "none" or method.cross_domain):
        asked = "method.cross_domain" if method.mixing == "none" else f"method.mixing={method.mixing}"
        raise UsageError(f"{asked} mixes target images; with data.source_share=1 there are none")
    if shown == 1 and method.mixed_images == "unlabelled":
        raise UsageError(
            "method.mixed_images=unlabelled mixes images without labels, and a step has none: lower data.labelled_share"
        )


def _changed(model: DenseModelConfig, name: str) -> bool:
    return getattr(model, name) != getattr(DenseModelConfig(), name)


def _depth_wanted(experiment: Experiment) -> bool:
    """Whether anything mixes or pairs by disparity. Raises `UsageError` for a source of depth that was asked for in vain."""
    method, data = cast(DepthSsdaConfig, experiment.method), cast(SemanticDataConfig, experiment.data)
    if method.mixing == "depth" or method.cross_domain or data.pairing == "geometry":
        return True
    if experiment.depth.source not in ("builtin", "none") or experiment.depth.disturb != DisturbConfig():
        raise UsageError("depth.* has no effect: nothing mixes or pairs by depth; leave it out")
    return False

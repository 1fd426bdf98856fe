"""An experiment -> a job: data, depth and model checked, the folder claimed. What can be wrong is found here, soon."""

import json
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

from depthbox.core.config import flatten, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.data.config import ViewsConfig
from depthbox.data.mixture import MixedPlan
from depthbox.data.source import Source
from depthbox.data.validate import refuse_leak, validate_data
from depthbox.experiment import PLACES, DataConfig, Experiment, SemanticDataConfig, VideoDataConfig, name_of
from depthbox.models.config import InferenceConfig, ModelConfig
from depthbox.supervision.config import DepthSsdaConfig, PlDcConfig
from depthbox.supervision.parts.clip_prior import ClipPrior
from depthbox.supervision.refused import check_burn_in, check_method, check_picked
from depthbox.tracking import redacted
from depthbox.train.depth_setup import depth_setup
from depthbox.train.inputs import data_copy, data_root, init_path, read_split
from depthbox.train.job import Job
from depthbox.train.labels import sees_masks, training_data
from depthbox.train.prepare_semantic import prepare_semantic
from depthbox.train.prepare_video import prepare_video
from depthbox.train.state import initial_model
from depthbox.train.transfer import said_of_transfer

__all__ = ["claim_folder", "prepare"]

log = logging.getLogger("depthbox")

WORDS = ("auto", "builtin", "hub", "none")
"""What `model.weights` can be besides a file."""


def prepare(experiment: Experiment, *, run_id: str = "") -> Job:
    """Read the data and make the job. Raises `InputError` or `UsageError` in words."""
    if isinstance(experiment.data, VideoDataConfig):
        return prepare_video(_with_absolute_paths(experiment), run_id=run_id)
    if isinstance(experiment.data, SemanticDataConfig):
        return prepare_semantic(_with_absolute_paths(experiment), run_id=run_id)
    _check_views(experiment.data.views)
    copy = data_copy(experiment.data.root)
    root = Path(copy.folder) if copy else data_root(experiment.data.root)
    train, plan = training_data(experiment, root)
    val = read_split(root, experiment.data.val, "data.val", masks=True) if experiment.data.val.annotations else None
    if val is not None and val.class_names != train.class_names:
        raise InputError(
            val.source,
            "categories",
            f"the classes are not those of {train.source}",
            "use the same categories, names and order in both files",
        )
    # Where labels are few, or photos need none, a photo to be scored slips in unseen. With labels for all it is a warning: some try a run on its own photos.
    strict = isinstance(plan, MixedPlan) or "none" in experiment.method.learns_from
    if val is not None and strict:
        refuse_leak(train, val)
    for finding in validate_data(train, val, decode=False, leaks=not strict):
        log.warning("%s", finding)
    photos = [record.path for record in train.records]
    depth = depth_setup(experiment.depth, root, photos, uri=experiment.tracking.uri)
    experiment = _with_absolute_paths(experiment)
    words = plan.words if isinstance(plan, MixedPlan) else ()
    _check_model(experiment, classes=train.class_names, depth=depth is not None, words=words)
    out = Path(experiment.out).absolute()
    source = Source(
        copy=copy,
        disturb=experiment.depth.disturb,
        teacher_from=experiment.method.teacher_from(experiment.schedule.steps),
        data=train,
        plan=plan,
        views=cast(DataConfig, experiment.data).views,
        masks=sees_masks(experiment),
        guard_folder=str(out / "decoding"),
    )
    return Job(experiment=experiment, source=source, val=val, depth=depth, out=out, run_id=run_id)


def claim_folder(experiment: Experiment) -> str:
    """Make `out` this experiment's; returns the MLflow run id of an earlier, unfinished try ("" for a new one).

    Raises `UsageError` where the folder holds another experiment, naming what differs.
    """
    out = Path(experiment.out)
    record, mine = out / "experiment.json", json.loads(json.dumps(flatten(experiment)))
    mine["tracking.uri"] = redacted(experiment.tracking.uri)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "stop").unlink(missing_ok=True)
        old = json.loads(record.read_text()) if record.exists() else None
        if old is not None and old["digest"] != name_of(experiment):
            changed = [
                f"{k} ({old['settings'].get(k)} there, {v} here)"
                for k, v in mine.items()
                if old["settings"].get(k) != v and not k.startswith(PLACES)
            ]
            said = "; ".join(changed[:4]) or "another method"
            raise UsageError(f"out={out} holds another experiment: {said}. Give another out=, or remove that folder")
        record.write_text(json.dumps({"digest": name_of(experiment), "settings": mine}, indent=1))
        run_file = out / "run.json"
        return json.loads(run_file.read_text())["run_id"] if run_file.exists() else ""
    except OSError as error:
        raise InputError(
            out, "", f"cannot be used as the run folder ({error.strerror})", "give another out="
        ) from error


def _with_absolute_paths(experiment: Experiment) -> Experiment:
    """Weights are given from the current folder, which a Ray worker does not share."""
    model = experiment.model
    paths = {} if model.weights in WORDS else {"weights": model.weights}
    if not isinstance(model, ModelConfig) and model.pose_weights not in WORDS:
        paths["pose_weights"] = model.pose_weights
    found = {f"model.{name}": os.path.abspath(path) for name, path in paths.items() if path}
    if model.init:
        found["model.init"] = init_path(model.init, uri=experiment.tracking.uri)
    if isinstance(experiment.method, PlDcConfig) and experiment.method.clip.weights:
        found["method.clip.weights"] = os.path.abspath(experiment.method.clip.weights)
    return vary(experiment, found)


def _check_model(experiment: Experiment, *, classes: Sequence[str], depth: bool, words: Collection[str]) -> None:
    """Build everything once, here: a wrong name or weights file must not start a cluster, nor be tried again by one."""
    model = experiment.model
    assert isinstance(model, ModelConfig)
    assert not isinstance(experiment.method, DepthSsdaConfig)
    _check_predictions(experiment.inference, model.head)
    check_method(experiment.method, depth=depth, mask_head=model.mask_head, head=model.head, words=words)
    check_picked(experiment.method, model.query.start)
    if isinstance(experiment.method, PlDcConfig):
        _check_category(experiment.method, model, classes)
        check_burn_in(experiment.method.burn_in, experiment.schedule.steps)
    network = initial_model(experiment, classes=classes)
    if model.init:
        log.info("%s", said_of_transfer(network, model.init, classes=classes))


def _check_category(method: PlDcConfig, model: ModelConfig, classes: Sequence[str]) -> None:
    if method.category == "open_clip":
        ClipPrior(method.clip, classes)
    if method.category == "cut_outs" and model.weights == "none" and not model.init:
        cause = "asks the backbone as it was before training, which knows nothing with model.weights=none"
        raise UsageError(f"method.category=cut_outs {cause}: set model.weights=auto, hub, builtin or a FILE")


def _check_views(views: ViewsConfig) -> None:
    """Raises `UsageError` for views that cannot be made."""
    if not 32 <= views.short_side <= views.max_side:
        raise UsageError(
            f"data.views.short_side={views.short_side}, max_side={views.max_side}: allowed is 32 <= short_side <= max_side"
        )
    if not 0 < views.scale[0] <= views.scale[1]:
        raise UsageError(f"data.views.scale={views.scale[0]:g},{views.scale[1]:g}: allowed is 0 < least <= most")
    for name in ("flip", "jitter", "grey", "blur", "erase"):
        if not 0 <= getattr(views, name) <= 1:
            raise UsageError(f"data.views.{name}={getattr(views, name):g}: allowed is from 0 to 1")


def _check_predictions(config: InferenceConfig, head: str) -> None:
    """Raises `UsageError` where no prediction could be left, and for what the other head alone does."""
    if config.top < 1:
        raise UsageError(f"inference.top={config.top}: allowed is a whole number of at least 1")
    usual, of_other = (
        InferenceConfig(),
        {"query": ("score_threshold", "nms_iou", "before_nms"), "dynamic": ("mask_nms_iou",)},
    )
    for name in of_other[head]:
        if getattr(config, name) != getattr(usual, name):
            other = "dynamic" if head == "query" else "query"
            raise UsageError(f"inference.{name} has no effect with model.head={head}; it is of model.head={other}")

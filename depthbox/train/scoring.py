"""What a run's model is worth on its validation set, by the kind of the set."""

from typing import cast

from torch import nn

from depthbox.data.schema import Detections
from depthbox.data.semantic import SemanticData
from depthbox.data.video import VideoData
from depthbox.evaluate.instance import Scores
from depthbox.experiment import DataConfig, SemanticDataConfig, VideoDataConfig
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.sde_net import SdeNetwork
from depthbox.models.segmenter import Segmenter
from depthbox.supervision.config import SdeConfig
from depthbox.train.job import Job

__all__ = ["scored"]


def scored(model: nn.Module, job: Job) -> tuple[Scores, list[Detections]]:
    """Every rank calls it. The detections behind the scores are those of instances; depth and classes of pixels have none."""
    if job.val is None:
        return Scores(values={}, note="no validation set was given"), []
    if isinstance(job.val, VideoData):
        return _depth(cast(SdeNetwork, model), job, job.val), []
    if isinstance(job.val, SemanticData):
        return _classes(cast(DenseNetwork, model), job, job.val), []
    from depthbox.evaluate.runner import evaluate

    views = cast(DataConfig, job.experiment.data).views
    return evaluate(cast(Segmenter, model), job.val, views=views, inference=job.experiment.inference)


def _classes(model: DenseNetwork, job: Job, val: SemanticData) -> Scores:
    from depthbox.evaluate.semantic import evaluate_semantic

    views = cast(SemanticDataConfig, job.experiment.data).views
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    found = evaluate_semantic(model.class_logits, val, short_side=views.short_side, device=device)
    model.train(was_training)
    return found


def _depth(model: SdeNetwork, job: Job, val: VideoData) -> Scores:
    from depthbox.evaluate.depth import evaluate_video, meaning_of_zero

    data = cast(VideoDataConfig, job.experiment.data)
    zero = meaning_of_zero(val.records, kind=data.depth_kind, zero=data.depth_zero)
    return evaluate_video(
        model,
        val,
        config=cast(SdeConfig, job.experiment.method),
        short_side=data.views.short_side,
        kind=data.depth_kind,
        zero=zero,
    )

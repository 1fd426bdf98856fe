"""A method's configuration -> the method."""

import copy
from collections.abc import Collection

import torch
from torch import nn

from depthbox.models.backbone import Backbone, build_backbone
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.sde_net import SdeNetwork
from depthbox.models.segmenter import Segmenter
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import DepthSsdaConfig, FullConfig, MethodConfig, PlDcConfig, SdeConfig
from depthbox.supervision.depth_ssda import DepthSsda
from depthbox.supervision.full import Full
from depthbox.supervision.full_query import FullQuery
from depthbox.supervision.method import Classes, Method
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.pl_dc import PlDc
from depthbox.supervision.pl_dc_detector import PlDcDetector
from depthbox.supervision.refused import check_burn_in, check_method, check_picked, check_ssda
from depthbox.supervision.selfsup import SelfSupervised

__all__ = ["build_method", "build_ssda"]


def build_method(
    config: MethodConfig,
    student: nn.Module,
    *,
    steps: int,
    depth: bool,
    classes: Classes = Classes(),
    words: Collection[str] = (),
) -> Method:
    """The method for a run of `steps` steps, with or without disparity, of images labelled with `words`; a teacher starts as a copy of `student`."""
    head = "query" if isinstance(student, QuerySegmenter) else "dynamic"
    mask_head = student.config.mask_head if isinstance(student, (QuerySegmenter, Segmenter)) else ""
    check_method(config, depth=depth, mask_head=mask_head, head=head, words=words)
    if isinstance(student, QuerySegmenter):
        check_picked(config, student.config.query.start)
    if isinstance(config, FullConfig):
        if isinstance(student, QuerySegmenter):
            return FullQuery(config, picked=student.config.query.start == "picked")
        return Full(config)
    if isinstance(config, PlDcConfig):
        boxed = "boxes" in words
        if isinstance(student, Segmenter):
            return PlDcDetector(config, student, steps=steps, classes=classes, depth=depth, boxed=boxed)
        assert isinstance(student, QuerySegmenter)
        return PlDc(config, student, steps=steps, classes=classes, depth=depth, boxed=boxed)
    if isinstance(config, SdeConfig):
        assert isinstance(student, SdeNetwork)
        frozen = _pretrained_encoder(student) if config.weights.feature_distance else None
        return SelfSupervised(config, steps=steps, frozen=frozen, knows_depth=bool(student.config.init))
    start = config.teacher_from(steps)
    teacher = None if start is None else Teacher(student, start=start, keep=config.distillation.keep)
    guided, mixed = mask_head == "depth_guided", "masks" in words
    return BoxDepth(config, steps=steps, depth=depth, guided=guided, teacher=teacher, mixed=mixed)


def _pretrained_encoder(student: SdeNetwork) -> Backbone:
    """The encoder as `model.weights` has it, frozen, for METHODS 3.1: with a `model.init` the student's own is another run's, and it is built again."""
    config = student.config
    if not config.init:
        return copy.deepcopy(student.backbone).requires_grad_(False).eval()
    # What a new network draws before its weights are loaded is no draw of the run.
    with torch.random.fork_rng(devices=[]):
        found = build_backbone(config.backbone, weights=config.weights, dilated=config.dilated)
    device = next(student.parameters()).device
    return found.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]


def build_ssda(config: DepthSsdaConfig, student: DenseNetwork, *, depth: bool, source: bool, steps: int) -> DepthSsda:
    """depth_ssda with or without disparity and another domain; its teacher starts as a copy of `student`."""
    check_ssda(config, depth=depth, source=source, multi_task=student.config.multi_task)
    check_burn_in(config.burn_in, steps)
    return DepthSsda(config, student, source=source, steps=steps)

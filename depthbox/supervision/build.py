"""A method's configuration -> the method."""

import copy
from collections.abc import Collection, Iterable, Sequence

from torch import nn

from depthbox.core.errors import UsageError
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.sde_net import SdeNetwork
from depthbox.models.segmenter import Segmenter
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import (
    BoxDepthConfig,
    BoxDepthWeights,
    BoxTermsConfig,
    FullConfig,
    PlDcConfig,
    PlDcWeights,
    QueryTermsConfig,
    QueryWeights,
    SdeConfig,
)
from depthbox.supervision.full import Full
from depthbox.supervision.full_query import FullQuery
from depthbox.supervision.method import Method
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.pl_dc import PlDc
from depthbox.supervision.selfsup import SelfSupervised

__all__ = ["MethodConfig", "build_method", "check_method"]

MethodConfig = BoxDepthConfig | FullConfig | PlDcConfig | SdeConfig

OF_BOXES = ("boxed_class", "projection", "box_prior", "color_affinity", "depth_affinity")
OF_DEPTH = ("color_veto", "depth_veto", "depth_threshold", "depth_theta", "depth_form", "depth_inside_only")


def check_method(
    config: MethodConfig, *, depth: bool, mask_head: str, head: str = "dynamic", words: Collection[str] = ()
) -> None:
    """Raises `UsageError` for a setting that cannot have an effect. `words`: what the images of the run are labelled with, where not all are alike."""
    if head == "query" and mask_head != "condinst":
        raise UsageError(f"model.mask_head={mask_head} is a head of model.head=dynamic, not of model.head=query")
    match config:
        case FullConfig():
            _check_full(config, head)
        case PlDcConfig():
            _check_pl_dc(config, depth=depth, head=head)
            _check_boxed(config, depth=depth, boxed="boxes" in words)
        case BoxDepthConfig():
            _check_box_depth(config, depth=depth, mask_head=mask_head, head=head)
            if "masks" not in words:
                unheard = "has no effect where no image has masks; name those with boxes alone: data.train.boxed"
                _refuse(config.weights, BoxDepthWeights(), ("mask_dice", "mask_bce"), "method.weights.", unheard)


def _check_full(config: FullConfig, head: str) -> None:
    if head == "dynamic" and (config.query, config.query_weights) != (QueryTermsConfig(), QueryWeights()):
        raise UsageError("method.query and method.query_weights are of model.head=query")
    plain = FullConfig(query=config.query, query_weights=config.query_weights, needs_masks=config.needs_masks)
    if head == "query" and config != plain:
        raise UsageError("method.weights, box_quality and masks_per_image are of model.head=dynamic; see method.query")


def _check_pl_dc(config: PlDcConfig, *, depth: bool, head: str) -> None:
    if head != "query":
        raise UsageError("this method takes its pseudo masks from queries; set model.head=query")
    if config.depth_form != "off" and not depth:
        raise UsageError("method.depth_form compares a mask with disparity; set depth.source")
    if config.category == "open_clip" and not config.clip.weights:
        raise UsageError("method.category=open_clip needs method.clip.weights=FILE, the weights of method.clip.model")
    if config.kept_by != "two" and config.adapt_on != "off":
        raise UsageError(f"method.adapt_on={config.adapt_on} adapts two thresholds; set method.kept_by=two")


def _check_boxed(config: PlDcConfig, *, depth: bool, boxed: bool) -> None:
    """What boxes alone, colour and disparity teach queries."""
    weights, usual = config.weights, PlDcWeights()
    if not boxed:
        unheard = "has no effect without images that have boxes alone; name them: data.train.boxed and data.boxed_share"
        _refuse(weights, usual, OF_BOXES, "method.weights.", unheard)
        affine = weights.pseudo_color_affinity > 0 or weights.pseudo_depth_affinity > 0
        silent = ("cost_class", "cost_projection", "prior_size") if affine else BoxTermsConfig.__slots__
        _refuse(config.boxed, BoxTermsConfig(), silent, "method.boxed.", unheard)
    if not depth:
        _refuse(config.boxed, BoxTermsConfig(), OF_DEPTH, "method.boxed.")
        _refuse(weights, usual, ("depth_affinity", "pseudo_depth_affinity"), "method.weights.")


def _check_box_depth(config: BoxDepthConfig, *, depth: bool, mask_head: str, head: str) -> None:
    if head != "dynamic":
        raise UsageError("box_depth learns from the boxes of a detector; set model.head=dynamic")
    if config.weights.mask_affinity and config.distillation.start >= 1:
        raise UsageError("method.weights.mask_affinity needs a teacher; set method.distillation.start below 1")
    if not depth:
        _refuse(config, BoxDepthConfig(), OF_DEPTH, "method.")
        _refuse(config.weights, BoxDepthWeights(), ("depth_relief",), "method.weights.")
    if mask_head == "depth_guided" and not depth:
        raise UsageError(
            "model.mask_head=depth_guided learns from disparity; set depth.source or model.mask_head=condinst"
        )


def _refuse(
    given: object,
    usual: object,
    names: Iterable[str],
    prefix: str,
    why: str = "has no effect without disparity; set depth.source",
) -> None:
    """Whoever sets one of these waits for an effect in vain."""
    for name in names:
        if getattr(given, name) != getattr(usual, name):
            raise UsageError(f"{prefix}{name}={getattr(given, name)} {why}")


def build_method(
    config: MethodConfig,
    student: nn.Module,
    *,
    steps: int,
    depth: bool,
    class_names: Sequence[str] = (),
    words: Collection[str] = (),
) -> Method:
    """The method for a run of `steps` steps, with or without disparity, of images labelled with `words`; a teacher starts as a copy of `student`."""
    head = "query" if isinstance(student, QuerySegmenter) else "dynamic"
    mask_head = student.config.mask_head if isinstance(student, (QuerySegmenter, Segmenter)) else ""
    check_method(config, depth=depth, mask_head=mask_head, head=head, words=words)
    if isinstance(config, FullConfig):
        if isinstance(student, QuerySegmenter):
            return FullQuery(config, picked=student.config.query.start == "picked")
        return Full(config)
    if isinstance(config, PlDcConfig):
        assert isinstance(student, QuerySegmenter)
        return PlDc(config, student, steps=steps, class_names=class_names, depth=depth, boxed="boxes" in words)
    if isinstance(config, SdeConfig):
        assert isinstance(student, SdeNetwork)
        kept = copy.deepcopy(student.backbone).requires_grad_(False) if config.weights.feature_distance else None
        return SelfSupervised(config, frozen=kept)
    start = config.teacher_from(steps)
    teacher = None if start is None else Teacher(student, start=start, keep=config.distillation.keep)
    guided, mixed = mask_head == "depth_guided", "masks" in words
    return BoxDepth(config, steps=steps, depth=depth, guided=guided, teacher=teacher, mixed=mixed)

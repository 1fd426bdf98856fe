"""A method's configuration -> the method."""

import copy

from torch import nn

from depthbox.core.errors import UsageError
from depthbox.models.sde_net import SdeNetwork
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import BoxDepthConfig, FullConfig, SdeConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import Method
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.selfsup import SelfSupervised

__all__ = ["build_method", "check_method"]


def check_method(config: BoxDepthConfig | FullConfig | SdeConfig, *, depth: bool, mask_head: str) -> None:
    """Raises `UsageError` for a setting that cannot have an effect."""
    if not isinstance(config, BoxDepthConfig):
        return
    if config.weights.mask_affinity and config.distillation.start >= 1:
        raise UsageError("method.weights.mask_affinity needs a teacher; set method.distillation.start below 1")
    if not depth and (config.color_veto or config.depth_veto):
        raise UsageError("method.color_veto and depth_veto compare colour with disparity; set depth.source")
    if mask_head == "depth_guided" and not depth:
        raise UsageError(
            "model.mask_head=depth_guided learns from disparity; set depth.source or model.mask_head=condinst"
        )


def build_method(
    config: BoxDepthConfig | FullConfig | SdeConfig, student: nn.Module, *, steps: int, depth: bool, mask_head: str
) -> Method:
    """The method for a run of `steps` steps, with or without disparity; a teacher starts as a copy of `student`."""
    check_method(config, depth=depth, mask_head=mask_head)
    if isinstance(config, FullConfig):
        return Full(config)
    if isinstance(config, SdeConfig):
        assert isinstance(student, SdeNetwork)
        kept = copy.deepcopy(student.backbone).requires_grad_(False) if config.weights.feature_distance else None
        return SelfSupervised(config, frozen=kept)
    start = config.teacher_from(steps)
    teacher = None if start is None else Teacher(student, start=start, keep=config.distillation.keep)
    return BoxDepth(config, steps=steps, depth=depth, guided=mask_head == "depth_guided", teacher=teacher)

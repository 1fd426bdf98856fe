"""A method's configuration -> the method."""

from collections.abc import Sequence

from torch import nn

from depthbox.core.errors import UsageError
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import BoxDepthConfig, BoxDepthWeights, FullConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import Method
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["build_method", "check_method"]

OF_DEPTH = ("color_veto", "depth_veto", "depth_threshold", "depth_theta", "depth_form", "depth_inside_only")


def check_method(config: BoxDepthConfig | FullConfig, *, depth: bool, mask_head: str) -> None:
    """Raises `UsageError` for a setting that cannot have an effect."""
    if isinstance(config, FullConfig):
        return
    if config.weights.mask_affinity and config.distillation.start >= 1:
        raise UsageError("method.weights.mask_affinity needs a teacher; set method.distillation.start below 1")
    if not depth:
        _refuse(config, BoxDepthConfig(), OF_DEPTH, "method.")
        _refuse(config.weights, BoxDepthWeights(), ("depth_relief",), "method.weights.")
    if mask_head == "depth_guided" and not depth:
        raise UsageError(
            "model.mask_head=depth_guided learns from disparity; set depth.source or model.mask_head=condinst"
        )


def _refuse(given: object, usual: object, of_depth: Sequence[str], prefix: str) -> None:
    """Whoever sets one of these without disparity waits for an effect in vain."""
    for name in of_depth:
        if getattr(given, name) != getattr(usual, name):
            raise UsageError(f"{prefix}{name}={getattr(given, name)} has no effect without disparity; set depth.source")


def build_method(
    config: BoxDepthConfig | FullConfig, student: nn.Module, *, steps: int, depth: bool, mask_head: str
) -> Method:
    """The method for a run of `steps` steps, with or without disparity; a teacher starts as a copy of `student`."""
    check_method(config, depth=depth, mask_head=mask_head)
    if isinstance(config, FullConfig):
        return Full(config)
    start = config.teacher_from(steps)
    teacher = None if start is None else Teacher(student, start=start, keep=config.distillation.keep)
    return BoxDepth(config, steps=steps, depth=depth, guided=mask_head == "depth_guided", teacher=teacher)

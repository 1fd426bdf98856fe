"""A method's configuration -> the method."""

from depthbox.core.errors import UsageError
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import BoxDepthConfig, FullConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import Method

__all__ = ["build_method"]


def build_method(config: BoxDepthConfig | FullConfig, *, steps: int, depth: bool, mask_head: str) -> Method:
    """The method for a run of `steps` steps, with or without disparity. A setting that cannot have an effect raises `UsageError`."""
    if isinstance(config, FullConfig):
        return Full(config)
    if mask_head == "depth_guided" and not depth:
        raise UsageError(
            "model.mask_head=depth_guided learns from disparity; set depth.source or model.mask_head=condinst"
        )
    return BoxDepth(config, steps=steps, depth=depth, guided=mask_head == "depth_guided")

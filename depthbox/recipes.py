"""The complete default experiments, one function a method. An override changes one of these; nothing else holds a default."""

import difflib
from collections.abc import Callable, Mapping
from typing import cast

from depthbox.core.errors import UsageError
from depthbox.experiment import DepthConfig, Experiment, ScheduleConfig, VideoDataConfig
from depthbox.models.config import SdeModelConfig
from depthbox.supervision.config import BoxDepthConfig, BoxDepthWeights, FullConfig, SdeConfig

__all__ = ["RECIPES", "box_depth", "full", "recipe", "sde"]


def box_depth() -> Experiment:
    """Boxes and pseudo depth (arXiv 2403.01214, first stage), at a working point for two cores.

    The paper weighs `depth_affinity` 1 with the disparity of a large network; a small one is too smooth on photos, and at 1 it fills the ground
    between a pedestrian's feet (experiments/LOG.md).
    """
    return Experiment(method=BoxDepthConfig(weights=BoxDepthWeights(depth_affinity=0.3)))


def full() -> Experiment:
    """The fully supervised twin of `box_depth`: the same model and schedule, true masks, no depth."""
    return Experiment(method=FullConfig(), depth=DepthConfig(source="none"))


def sde() -> Experiment:
    """Depth from one's own video (arXiv 1806.01260, 2108.12545), at a working point for two cores: small encoders that start from the built-in network's."""
    return Experiment(
        method=SdeConfig(),
        data=VideoDataConfig(),
        depth=DepthConfig(source="none"),
        model=SdeModelConfig(),
        schedule=ScheduleConfig(steps=2000, learning_rate=5e-4, backbone_factor=0.5, weight_decay=0.01),
    )


RECIPES: Mapping[str, Callable[[], Experiment] | None] = {
    "box_depth": box_depth, "full": full, "pl_dc": None, "guided_distillation": None, "depth_ssda": None, "sde": sde,
}  # fmt: skip


def recipe(name: str) -> Experiment:
    """The default experiment of a method. Raises `UsageError` for an unknown name, or for a method that is not built yet."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"unknown method '{name}'; {hint}there are: {', '.join(RECIPES)}")
    if RECIPES[name] is None:
        ready = ", ".join(key for key, value in RECIPES.items() if value is not None)
        raise UsageError(f"the method '{name}' is not built yet; ready are: {ready}")
    return cast(Callable[[], Experiment], RECIPES[name])()

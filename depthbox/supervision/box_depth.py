"""Boxes and pseudo depth instead of masks (arXiv 2403.01214), first stage: BoxInst terms plus depth affinity and instance depth."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Views
from depthbox.core.schedule import Schedule, constant, ramp, scaled
from depthbox.ops.pairwise import Edges
from depthbox.supervision.config import BoxDepthConfig
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.box_terms import (
    affinities,
    color_change,
    color_edges,
    depth_change,
    depth_edges,
    instance_depth,
    projection,
    vetoed,
)
from depthbox.supervision.parts.instance_step import InstanceStep, instance_step

__all__ = ["BoxDepth"]


class BoxDepth:
    """`Method` without masks. Terms that need disparity exist only where the run has it; `instance_depth` only with the depth-guided head."""

    def __init__(self, config: BoxDepthConfig, *, steps: int, depth: bool, guided: bool) -> None:
        self.config, self.depth = config, depth
        self.guided = guided and depth
        ramp_steps = config.warm_up * steps
        timed: dict[str, Schedule] = {
            "color_affinity": ramp(0, ramp_steps),
            "depth_affinity": ramp(ramp_steps, ramp_steps),
        }
        missing = set() if depth else {"depth_affinity"}
        missing |= set() if self.guided else {"instance_depth"}
        self.weights: Mapping[str, Schedule] = {
            name: scaled(timed.get(name, constant(1.0)), getattr(config.weights, name))
            for name in config.weights.__slots__
            if name not in missing
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        edges = self._edges(batch.views)
        found = instance_step(
            student, batch, quality=self.config.box_quality, masks_per_image=self.config.masks_per_image
        )
        terms = (
            found.terms | {"projection": projection(found.masks.logits, found.boxes)} | self._affinities(found, edges)
        )
        if self.guided:
            assert found.masks.depth is not None
            terms["instance_depth"] = instance_depth(
                found.masks.depth, found.positives.image_index, found.boxes, batch.views
            )
        return Losses(terms=terms, figures=_figures(found, edges))

    def after_step(self, student: nn.Module, step: int) -> None:
        """The first stage has no teacher."""

    def modules(self) -> Mapping[str, nn.Module]:
        return {}

    def evaluated(self, student: nn.Module) -> nn.Module:
        return student

    @torch.no_grad()
    def _edges(self, views: Views) -> dict[str, Edges]:
        c = self.config
        color = color_edges(views, threshold=c.color_threshold)
        if not self.depth:
            return {"color_affinity": color}
        depth = depth_edges(
            views, theta=c.depth_theta, threshold=c.depth_threshold, form=c.depth_form, inside_only=c.depth_inside_only
        )
        if c.depth_veto:
            color = vetoed(color, depth_change(views), limit=c.depth_veto)
        if c.color_veto:
            depth = vetoed(depth, color_change(views), limit=c.color_veto)
        return {"color_affinity": color, "depth_affinity": depth}

    def _affinities(self, found: InstanceStep, edges: dict[str, Edges]) -> dict[str, Tensor]:
        values = affinities(found.masks.logits, found.positives.image_index, found.boxes, list(edges.values()))
        return dict(zip(edges, values, strict=True))


def _figures(found: InstanceStep, edges: dict[str, Edges]) -> dict[str, Tensor]:
    """Shares of active edges, and how much of its box a mask fills: near 1 is the collapse of "the mask is simply the box"."""
    shares = {f"edges/{name}": e.forward.float().mean() for name, e in edges.items()}
    filled = ((found.masks.logits.detach() > 0) & found.boxes).sum() / found.boxes.sum().clamp(min=1)
    return shares | {"mask_box_ratio": filled}

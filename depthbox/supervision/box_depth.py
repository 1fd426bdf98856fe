"""Boxes and pseudo depth instead of masks (arXiv 2403.01214): BoxInst terms, depth affinity, instance depth, and self-distillation."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Views
from depthbox.core.schedule import Schedule, constant, falling, ramp, scaled
from depthbox.ops.pairwise import Edges
from depthbox.supervision.config import BoxDepthConfig
from depthbox.supervision.distillation import Distilled, distil, nothing_distilled
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.box_terms import (
    affinities,
    at_masks,
    box_prior,
    color_change,
    color_edges,
    depth_change,
    depth_edges,
    instance_depth,
    projection,
    vetoed,
)
from depthbox.supervision.parts.instance_step import InstanceStep, instance_step
from depthbox.supervision.parts.pseudo_masks import mask_affinity, pseudo_mask, targets_of
from depthbox.supervision.parts.relief import relief_targets
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["BoxDepth", "active_edges"]


class BoxDepth:
    """`Method` without masks. Terms that need disparity exist only where the run has it, `depth_relief` only with a weight; `instance_depth` only with the
    depth-guided head; `pseudo_mask` and `mask_affinity` only with a teacher."""

    def __init__(
        self, config: BoxDepthConfig, *, steps: int, depth: bool, guided: bool, teacher: Teacher | None = None
    ) -> None:
        self.config, self.depth, self.teacher = config, depth, teacher
        self.guided, self.relief = guided and depth, depth and config.weights.depth_relief > 0
        self.affine = teacher is not None and config.weights.mask_affinity > 0
        self.weights = _weights(self, steps)
        beta = config.distillation.depth_cost if depth else 0.0
        self.depth_cost = scaled(falling(steps) if config.distillation.depth_cost_falls else constant(1.0), beta)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        edges = active_edges(batch.views, self.config, depth=self.depth)
        distilled = self._distilled(batch, step)
        found = instance_step(
            student, batch, quality=self.config.box_quality, masks_per_image=self.config.masks_per_image
        )
        logits, size_hw = found.masks.logits, (batch.views.strong.shape[-2], batch.views.strong.shape[-1])
        terms = found.terms | {
            "projection": projection(logits, found.boxes),
            "box_prior": box_prior(logits, found.positives.boxes_xyxy, size_hw, size=self.config.prior_size),
        }
        terms |= self._affinities(found, edges) | self._distillation(found, distilled, batch.views)
        if self.relief:
            relief = relief_targets(batch.views, batch.instances)
            terms["depth_relief"] = pseudo_mask(logits, *targets_of(found.positives, relief))
        if self.guided:
            assert found.masks.depth is not None
            terms["instance_depth"] = instance_depth(
                found.masks.depth, found.positives.image_index, found.boxes, batch.views
            )
        return Losses(terms=terms, figures=_figures(found, edges) | (distilled.figures if distilled else {}))

    def after_step(self, student: nn.Module, step: int) -> None:
        if self.teacher is not None:
            self.teacher.follow(student, step)

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.teacher is None else {"teacher": self.teacher}

    def evaluated(self, student: nn.Module, step: int) -> nn.Module:
        """The teacher, once there is one."""
        return self.teacher.model if self.teacher is not None and self.teacher.active(step) else student

    def _affinities(self, found: InstanceStep, edges: dict[str, Edges]) -> dict[str, Tensor]:
        values = affinities(
            found.masks.logits,
            found.positives.image_index,
            found.boxes,
            list(edges.values()),
            dilation=self.config.dilation,
        )
        return dict(zip(edges, values, strict=True))

    def _distilled(self, batch: Batch, step: int) -> Distilled | None:
        if self.teacher is None:
            return None
        if not self.teacher.active(step):
            return nothing_distilled(batch.views, batch.instances)
        c = self.config
        return distil(self.teacher, batch, c.distillation, depth_cost=self.depth_cost, theta=c.depth_theta, step=step)

    def _distillation(self, found: InstanceStep, distilled: Distilled | None, views: Views) -> dict[str, Tensor]:
        if distilled is None:
            return {}
        logits = found.masks.logits
        targets, confidence = targets_of(found.positives, distilled.pseudo)
        terms = {"pseudo_mask": pseudo_mask(logits, targets, confidence)}
        if self.affine:
            valid = at_masks(views.valid)[found.positives.image_index]
            terms["mask_affinity"] = mask_affinity(
                logits, targets, found.boxes, confidence, valid=valid, dilation=self.config.dilation
            )
        return terms


@torch.no_grad()
def active_edges(views: Views, config: BoxDepthConfig, *, depth: bool) -> dict[str, Edges]:
    """The edges of each affinity by the name of its loss, after the vetoes."""
    c = config
    color = color_edges(views, threshold=c.color_threshold, dilation=c.dilation)
    if not depth:
        return {"color_affinity": color}
    deep = depth_edges(
        views,
        theta=c.depth_theta,
        threshold=c.depth_threshold,
        form=c.depth_form,
        inside_only=c.depth_inside_only,
        dilation=c.dilation,
    )
    if c.depth_veto:
        color = vetoed(color, depth_change(views, dilation=c.dilation), limit=c.depth_veto)
    if c.color_veto:
        deep = vetoed(deep, color_change(views, dilation=c.dilation), limit=c.color_veto)
    return {"color_affinity": color, "depth_affinity": deep}


def _weights(method: BoxDepth, steps: int) -> Mapping[str, Schedule]:
    """A schedule for every term this method has."""
    config, ramp_steps = method.config, method.config.warm_up * steps
    timed: dict[str, Schedule] = {
        "box_prior": falling(2 * ramp_steps),
        "color_affinity": ramp(0, ramp_steps),
        "depth_affinity": ramp(ramp_steps, ramp_steps),
    }
    if method.teacher is not None and config.distillation.matching == "greedy":
        timed |= {name: ramp(method.teacher.start, ramp_steps) for name in ("pseudo_mask", "mask_affinity")}
    has = {
        "depth_affinity": method.depth,
        "depth_relief": method.relief,
        "instance_depth": method.guided,
        "pseudo_mask": method.teacher is not None,
        "mask_affinity": method.affine,
    }
    return {
        name: scaled(timed.get(name, constant(1.0)), getattr(config.weights, name))
        for name in config.weights.__slots__
        if has.get(name, True)
    }


def _figures(found: InstanceStep, edges: dict[str, Edges]) -> dict[str, Tensor]:
    """Shares of active edges, and how much of its box a mask fills: near 1 is the collapse of "the mask is simply the box"."""
    shares = {f"edges/{name}": e.forward.float().mean() for name, e in edges.items()}
    filled = ((found.masks.logits.detach() > 0) & found.boxes).sum() / found.boxes.sum().clamp(min=1)
    return shares | {"mask_box_ratio": filled}

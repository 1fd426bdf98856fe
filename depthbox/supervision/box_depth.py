"""Boxes and pseudo depth instead of masks (arXiv 2403.01214): BoxInst terms, depth affinity, instance depth, and self-distillation."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Views
from depthbox.core.schedule import Schedule, constant, falling, ramp, scaled
from depthbox.ops.pairwise import Edges, active_share
from depthbox.supervision.config import BoxDepthConfig
from depthbox.supervision.distillation import Distilled, distil, nothing_distilled
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.box_terms import affinities, at_masks, box_prior, instance_depth, projection
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.instance_step import InstanceStep, instance_step
from depthbox.supervision.parts.mask_terms import mask_terms
from depthbox.supervision.parts.pseudo_masks import mask_affinity, pseudo_mask, relief_bce, targets_of
from depthbox.supervision.parts.relief import relief_targets
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["BoxDepth"]


class BoxDepth:
    """`Method` without masks, or with masks for some images. Terms that need disparity exist only where the run has it, `depth_relief` and `relief_bce` only with a weight for either;
    `instance_depth` only with the depth-guided head; `pseudo_mask` and `mask_affinity` only with a teacher; `mask_dice` and `mask_bce` only in a run
    of which some images have masks (`mixed`): those images have no other mask term but `instance_depth`."""

    def __init__(
        self,
        config: BoxDepthConfig,
        *,
        steps: int,
        depth: bool,
        guided: bool,
        teacher: Teacher | None = None,
        mixed: bool = False,
    ) -> None:
        self.config, self.depth, self.teacher, self.mixed = config, depth, teacher, mixed
        self.guided = guided and depth
        self.relief = depth and (config.weights.depth_relief > 0 or config.weights.relief_bce > 0)
        self.affine = teacher is not None and config.weights.mask_affinity > 0
        self.weights = _weights(self, steps)
        beta = config.distillation.depth_cost if depth else 0.0
        self.depth_cost = scaled(falling(steps) if config.distillation.depth_cost_falls else constant(1.0), beta)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        edges = active_edges(batch.views, self.config, depth=self.depth)
        distilled = self._distilled(batch, step)
        found = instance_step(student, batch.views.strong, batch.instances, masks_per_image=self.config.masks_per_image)
        drawn, boxed = _by_word(found, batch) if self.mixed else (None, found)
        logits, size_hw = boxed.masks.logits, (batch.views.strong.shape[-2], batch.views.strong.shape[-1])
        terms = found.detection(quality=self.config.box_quality) | {
            "projection": projection(logits, boxed.boxes),
            "box_prior": box_prior(logits, boxed.positives.boxes_xyxy, size_hw, size=self.config.prior_size),
        }
        terms |= self._affinities(boxed, edges) | self._distillation(boxed, distilled, batch.views)
        if drawn is not None:
            terms |= mask_terms(drawn.masks.logits, drawn.truth(batch.instances), drawn.boxes)
        if self.relief:
            relief = relief_targets(batch.views, batch.instances, share=self.config.relief_share)
            masks, trust = targets_of(boxed.positives, relief)
            terms["depth_relief"] = pseudo_mask(logits, masks, trust)
            terms["relief_bce"] = relief_bce(logits, masks, boxed.boxes, trust)
        if self.guided:
            assert found.masks.depth is not None
            terms["instance_depth"] = instance_depth(
                found.masks.depth, found.positives.image_index, found.boxes, batch.views
            )
        return Losses(
            terms=terms, figures=_figures(boxed, edges, self.config.dilation) | (distilled.figures if distilled else {})
        )

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


def _by_word(found: InstanceStep, batch: Batch) -> tuple[InstanceStep, InstanceStep]:
    """The positives of the images with masks, and those of the images with boxes alone."""
    masked = torch.tensor([word == "masks" for word in batch.supervision], device=found.boxes.device)
    drawn = masked[found.positives.image_index]
    return found.take(drawn.nonzero()[:, 0]), found.take((~drawn).nonzero()[:, 0])


def _weights(method: BoxDepth, steps: int) -> Mapping[str, Schedule]:
    """A schedule for every term this method has."""
    config, ramp_steps = method.config, method.config.warm_up * steps
    timed: dict[str, Schedule] = {
        "box_prior": falling(2 * ramp_steps),
        "color_affinity": ramp(0, ramp_steps),
        "depth_affinity": ramp(ramp_steps, ramp_steps),
    }
    if method.teacher is not None:
        # BoxTeacher's come in over a ramp; the pseudo masks of depth-aware matching count from their first step on.
        ramped = ("pseudo_mask", "mask_affinity") if config.distillation.matching == "greedy" else ("mask_affinity",)
        timed |= dict.fromkeys(ramped, ramp(method.teacher.start, ramp_steps))
    has = {
        "depth_affinity": method.depth,
        "depth_relief": method.relief,
        "relief_bce": method.relief,
        "instance_depth": method.guided,
        "pseudo_mask": method.teacher is not None,
        "mask_affinity": method.affine,
        "mask_dice": method.mixed,
        "mask_bce": method.mixed,
    }
    return {
        name: scaled(timed.get(name, constant(1.0)), getattr(config.weights, name))
        for name in config.weights.__slots__
        if has.get(name, True)
    }


def _figures(found: InstanceStep, edges: dict[str, Edges], dilation: int) -> dict[str, Tensor]:
    """Shares of active edges, and how much of its box a mask fills: near 1 is the collapse of "the mask is simply the box"."""
    shares = {f"edges/{name}": active_share(e, dilation=dilation) for name, e in edges.items()}
    inside = found.boxes.sum()
    # A step without boxes measures nothing: a 0 would be read as masks that have vanished.
    if not inside:
        return shares
    return shares | {"mask_box_ratio": ((found.masks.logits.detach() > 0) & found.boxes).sum() / inside}

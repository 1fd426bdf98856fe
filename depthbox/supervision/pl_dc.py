"""A few images have masks, some boxes alone, the others nothing: a teacher's queries become their labels where they are good enough (PL-DC, arXiv 2505.11075)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Views
from depthbox.core.schedule import Schedule, constant, falling, ramp, scaled
from depthbox.models.query_head import QueryOutputs, QuerySegmenter
from depthbox.ops.pairwise import Edges
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.method import Classes, Losses
from depthbox.supervision.parts.box_query_terms import (
    box_query_terms,
    box_targets,
    paired_masks,
    query_affinities,
)
from depthbox.supervision.parts.category import CategoryPrior, PrototypeBank, correction_share
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.points import DrawnPoints, extent_of
from depthbox.supervision.parts.pseudo_labels import as_targets
from depthbox.supervision.parts.query_start import middles, query_start
from depthbox.supervision.parts.query_terms import QueryTargets, matched, query_terms, targets_of
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.parts.teaching import Taught, Teaching
from depthbox.supervision.parts.thresholds import AdaptiveThresholds, FixedThresholds, Thresholds

__all__ = ["PlDc", "split"]

AFFINITIES = ("pseudo_color_affinity", "pseudo_depth_affinity")
PSEUDO = {"query_class": "pseudo_class", "query_bce": "pseudo_mask_bce", "query_dice": "pseudo_mask_dice"}


class PlDc:
    """`Method` for a `QuerySegmenter`: labelled images in both views, unlabelled ones in the strong view as the teacher sees the weak one.

    Images with boxes alone (ours) are looked at like those with masks. Their terms exist only in a run that has such images (`boxed`), those of
    disparity only where there is `depth`, and the affinities of pseudo masks (ours) only with a weight.
    """

    def __init__(
        self,
        config: PlDcConfig,
        student: QuerySegmenter,
        *,
        steps: int,
        classes: Classes = Classes(),
        depth: bool = False,
        boxed: bool = False,
    ) -> None:
        self.config, self.depth, self.boxed = config, depth, boxed
        start = round(config.burn_in * steps)
        self.weights: Mapping[str, Schedule] = _weights(
            self, student, start=start, warm_up=config.boxed.warm_up * steps
        )
        device = next(student.parameters()).device
        self.thresholds = _thresholds(config, classes.objects, device)
        self.prior = _prior(config, student, classes.names, device)
        share = correction_share(start, steps, first=config.category_weight)
        teacher = Teacher(student, start=start, keep=config.keep) if start < steps else None
        self.teaching = None if teacher is None else Teaching(config, teacher, self.thresholds, self.prior, share)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        masked, boxed, unlabelled = split(batch)
        taught = self._taught(batch, masked, unlabelled, step)
        learned = unlabelled if taught.kept else unlabelled[:0]

        views, seen = batch.views, Seen(masked=masked, boxed=boxed, learned=learned)
        # A rank may have been dealt nothing to learn from; it says something all the same, as DDP needs.
        images, valid = (
            (seen.images(views), views.valid[seen.owners]) if len(seen.owners) else (views.strong[:1], views.valid[:1])
        )
        targets = self._targets(batch, masked, boxed, taught)
        outputs = student(images, valid, middles(targets, valid))

        edges = active_edges(views, self.config.boxed, depth=self.depth) if self._affine() else {}
        ids = batch.image_ids or range(len(batch.instances))
        names = [(step, ids[i], int(strong)) for i, strong in zip(seen.owners.tolist(), seen.strong, strict=True)]
        drawn = DrawnPoints(self.config.query.points, names=names, extent_xy=extent_of(views.valid[seen.owners]))
        terms = self._of_labels(batch, seen, targets, outputs, drawn, edges)
        terms |= self._of_pseudo_labels(taught, seen, targets, outputs, drawn, edges)
        return Losses(terms=terms, figures=taught.figures)

    def _targets(self, batch: Batch, masked: Tensor, boxed: Tensor, taught: Taught) -> list[QueryTargets]:
        """What each view of `Seen` holds: true masks, boxes as masks, pseudo masks."""
        size_hw = (batch.views.weak.shape[-2], batch.views.weak.shape[-1])
        truth = [targets_of(batch.instances[i]) for i in masked.tolist()]
        boxes = [box_targets(batch.instances[i], size_hw) for i in boxed.tolist()]
        pseudo = [as_targets(one, weigh_pixels=self.config.uncertainty) for one in taught.kept]
        return [*truth, *truth, *boxes, *boxes, *pseudo]

    def _of_labels(
        self,
        batch: Batch,
        seen: "Seen",
        targets: Sequence[QueryTargets],
        outputs: QueryOutputs,
        points: DrawnPoints,
        edges: Mapping[str, Edges],
    ) -> dict[str, Tensor]:
        query, (masked, boxed, _) = self.config.query, seen.parts
        terms = query_terms(outputs.of(masked), targets[masked], query, points=points.of(masked))
        owners = seen.owners[boxed].tolist()
        objects = [batch.instances[i] for i in owners]
        if self.boxed:
            terms |= box_query_terms(
                outputs.of(boxed), objects, owners, edges, self.config.boxed, no_object=query.no_object
            )
        if outputs.picked is not None:
            cells = outputs.picked.cells[: boxed.stop]
            terms["query_start"] = query_start(cells, targets[: boxed.stop], no_object=query.no_object)
        return terms

    def _of_pseudo_labels(
        self,
        taught: Taught,
        seen: "Seen",
        targets: Sequence[QueryTargets],
        outputs: QueryOutputs,
        points: DrawnPoints,
        edges: Mapping[str, Edges],
    ) -> dict[str, Tensor]:
        query, learned = replace(self.config.query, no_object=self.config.pseudo_no_object), seen.parts[2]
        mine, where, pseudo = outputs.of(learned), points.of(learned), targets[learned]
        pairs = matched(mine, pseudo, query, where)
        terms = query_terms(mine, pseudo, query, points=where, background=_any(pseudo), pairs=pairs)
        terms = {PSEUDO[name]: term for name, term in terms.items()}
        sources = {f"pseudo_{name}": edge for name, edge in edges.items() if f"pseudo_{name}" in self.weights}
        if sources:
            boxes = [_extents(one.logits > 0) for one in taught.kept]
            found = paired_masks(mine, pairs, boxes, seen.owners[learned].tolist())
            terms |= query_affinities(found, sources, dilation=self.config.boxed.dilation)
        if "pseudo_start" in self.weights:
            assert mine.picked is not None
            # That no object is kept somewhere does not say that there is none.
            terms["pseudo_start"] = query_start(mine.picked.cells, pseudo, no_object=0.0)
        return terms

    def _affine(self) -> bool:
        """Whether any term asks what belongs together."""
        return self.boxed or any(name in self.weights for name in AFFINITIES)

    def after_step(self, student: nn.Module, step: int) -> None:
        if self.teaching is not None:
            self.teaching.teacher.follow(student, step)

    def modules(self) -> Mapping[str, nn.Module]:
        if self.teaching is None:
            return {}
        stateful = {"thresholds": self.thresholds, "category": self.prior}
        kept = {name: part for name, part in stateful.items() if isinstance(part, (AdaptiveThresholds, PrototypeBank))}
        return {"teacher": self.teaching.teacher, **kept}

    def evaluated(self, student: nn.Module, step: int) -> nn.Module:
        """The teacher, once there is one."""
        teaching = self.teaching
        return teaching.teacher.model if teaching is not None and teaching.teacher.active(step) else student

    def _taught(self, batch: Batch, labelled: Tensor, unlabelled: Tensor, step: int) -> Taught:
        if self.teaching is None or not self.teaching.teacher.active(step):
            return Taught(kept=[], figures={})
        return self.teaching.labels(batch, labelled, unlabelled, step)


def split(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the images with masks, with boxes alone and with nothing; an empty `supervision` says that all have masks."""
    device = batch.views.weak.device
    words = batch.supervision or ["masks"] * len(batch.instances)
    masked, boxed, unlabelled = (
        torch.tensor([i for i, said in enumerate(words) if said == word], dtype=torch.int64, device=device)
        for word in ("masks", "boxes", "none")
    )
    return masked, boxed, unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Which images the student looks at, as int64 indices into the batch: labelled ones in both views, unlabelled ones in the strong one."""

    masked: Tensor
    boxed: Tensor
    learned: Tensor

    @property
    def owners(self) -> Tensor:
        """Of each view."""
        return torch.cat((self.masked, self.masked, self.boxed, self.boxed, self.learned))

    @property
    def strong(self) -> list[bool]:
        """Of each view, whether it is the strong one."""
        counts = (len(self.masked), len(self.masked), len(self.boxed), len(self.boxed), len(self.learned))
        return [bool(n % 2) or n == 4 for n, count in enumerate(counts) for _ in range(count)]

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """The views of each kind of image."""
        first, second = 2 * len(self.masked), 2 * (len(self.masked) + len(self.boxed))
        return slice(0, first), slice(first, second), slice(second, second + len(self.learned))

    def images(self, views: Views) -> Tensor:
        weak, strong = views.weak, views.strong
        labelled = (weak[self.masked], strong[self.masked], weak[self.boxed], strong[self.boxed])
        return torch.cat((*labelled, strong[self.learned]))


def _weights(method: PlDc, student: QuerySegmenter, *, start: int, warm_up: float) -> dict[str, Schedule]:
    """A schedule for every term this method has; the affinities come in as in `BoxDepth`, those of pseudo masks after the burn-in."""
    weights = method.config.weights
    timed: dict[str, Schedule] = {
        "box_prior": falling(2 * warm_up),
        "color_affinity": ramp(0, warm_up),
        "depth_affinity": ramp(warm_up, warm_up),
        **dict.fromkeys(AFFINITIES, ramp(start, warm_up)),
    }
    has = dict.fromkeys(("boxed_class", "projection", "box_prior", "color_affinity"), method.boxed)
    has |= {"depth_affinity": method.boxed and method.depth, "query_start": student.config.query.start == "picked"}
    has |= {name: getattr(weights, name) > 0 for name in (*AFFINITIES, "pseudo_start")}
    return {
        name: scaled(timed.get(name, constant(1.0)), getattr(weights, name))
        for name in weights.__slots__
        if has.get(name, True)
    }


def _extents(masks: Tensor) -> Tensor:
    """The boxes of bool masks "N h w", as masks."""
    return masks.any(2)[:, :, None] & masks.any(1)[:, None, :]


def _thresholds(config: PlDcConfig, objects: Sequence[int], device: torch.device) -> Thresholds:
    highest = (config.class_threshold, config.mask_threshold)
    if config.adapt_on == "off":
        return FixedThresholds(*highest).to(device)
    assert objects, "adaptive thresholds start from the labelled objects of each class"
    return AdaptiveThresholds(
        objects, highest=highest, lowest=config.lowest, floors=config.floors, keep=config.adapt_keep
    ).to(device)


def _prior(
    config: PlDcConfig, student: QuerySegmenter, class_names: Sequence[str], device: torch.device
) -> CategoryPrior | None:
    if config.category == "prototypes":
        return PrototypeBank(student.classes, student.config.channels).to(device)
    if config.category == "open_clip":
        from depthbox.supervision.parts.clip_prior import ClipPrior

        return ClipPrior(config.clip, class_names).to(device)
    return None


def _any(targets: Sequence[QueryTargets]) -> bool:
    """A local batch without any pseudo label teaches no background: its images are not known to be empty."""
    return any(len(one.labels) for one in targets)

"""What semi-supervised training has in common over the heads: who looks at what, the teacher, its thresholds and its second opinion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Views
from depthbox.core.schedule import Schedule, constant, falling, ramp, scaled
from depthbox.models.segmenter import Model
from depthbox.supervision.config import DetectorWeights, PlDcConfig, PlDcWeights
from depthbox.supervision.method import Classes
from depthbox.supervision.parts.category import CategoryPrior, PrototypeBank, correction_share
from depthbox.supervision.parts.cut_outs import CutOuts
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.parts.teaching import Taught, Teaching
from depthbox.supervision.parts.thresholds import AdaptiveThresholds, CountedThresholds, FixedThresholds, Thresholds

__all__ = ["Seen", "SemiSupervised", "split"]

STATEFUL = (AdaptiveThresholds, CountedThresholds, PrototypeBank, CutOuts)
AFFINITIES = ("pseudo_color_affinity", "pseudo_depth_affinity")


class SemiSupervised:
    """The teacher's side of a `Method`: from `start` on an average of the student labels the unlabelled images."""

    def __init__(
        self,
        config: PlDcConfig,
        student: Model,
        *,
        steps: int,
        classes: Classes = Classes(),
        depth: bool = False,
        boxed: bool = False,
    ) -> None:
        self.config, self.depth, self.boxed = config, depth, boxed
        self.start, self.warm_up = round(config.burn_in * steps), config.boxed.warm_up * steps
        self.weights: Mapping[str, Schedule] = self._weights(student)
        device = next(student.parameters()).device
        self.thresholds = _thresholds(config, classes, device)
        self.prior = _prior(config, student, classes.names, device, depth=depth)
        share = correction_share(self.start, steps, first=config.category_weight)
        teacher = Teacher(student, start=self.start, keep=config.keep) if self.start < steps else None
        parts, usual = (self.thresholds, self.prior, share), classes.objects_an_image
        self.teaching = None if teacher is None else Teaching(config, teacher, *parts, objects_an_image=usual)

    def _weights(self, student: Model) -> dict[str, Schedule]:
        """Of the terms that this run has, by `_scheduled`."""
        raise NotImplementedError

    def _scheduled(self, weights: PlDcWeights | DetectorWeights, has: Mapping[str, bool]) -> dict[str, Schedule]:
        """A schedule for every term this run has (`has`: those of one head alone): the affinities come in as in `BoxDepth`, those of pseudo masks after the
        burn-in and only with a weight."""
        timed: dict[str, Schedule] = {
            "box_prior": falling(2 * self.warm_up),
            "color_affinity": ramp(0, self.warm_up),
            "depth_affinity": ramp(self.warm_up, self.warm_up),
            **dict.fromkeys(AFFINITIES, ramp(self.start, self.warm_up)),
        }
        there = dict.fromkeys(("projection", "box_prior", "color_affinity"), self.boxed)
        there |= {"depth_affinity": self.boxed and self.depth, **has}
        there |= {name: getattr(weights, name) > 0 for name in AFFINITIES}
        return {
            name: scaled(timed.get(name, constant(1.0)), getattr(weights, name))
            for name in weights.__slots__
            if there.get(name, True)
        }

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
        kept = {name: part for name, part in stateful.items() if isinstance(part, STATEFUL)}
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

    def shown(self, views: Views) -> tuple[Tensor, Tensor]:
        """These images and where they are no padding. A rank that was dealt nothing to learn from sees one all the same, as DDP needs."""
        if not len(self.owners):
            return views.strong[:1], views.valid[:1]
        return self.images(views), views.valid[self.owners]


def _thresholds(config: PlDcConfig, classes: Classes, device: torch.device) -> Thresholds:
    highest = (config.class_threshold, config.mask_threshold)
    if config.adapt_on == "off":
        return FixedThresholds(*highest).to(device)
    assert classes.objects, "adaptive thresholds start from the labelled objects of each class"
    if config.adapt_on == "counts":
        return CountedThresholds(classes.objects, classes.images, lowest=highest, keep=config.adapt_keep).to(device)
    return AdaptiveThresholds(
        classes.objects, highest=highest, lowest=config.lowest, floors=config.floors, keep=config.adapt_keep
    ).to(device)


def _prior(
    config: PlDcConfig, student: Model, class_names: Sequence[str], device: torch.device, *, depth: bool
) -> CategoryPrior | None:
    if config.category == "prototypes":
        return PrototypeBank(student.classes, student.config.channels).to(device)
    if config.category == "cut_outs":
        return CutOuts(student.backbone, student.classes, depth=depth).to(device)
    if config.category == "open_clip":
        from depthbox.supervision.parts.clip_prior import ClipPrior

        return ClipPrior(config.clip, class_names).to(device)
    return None

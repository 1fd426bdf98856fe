"""A few images have masks, the others nothing: a teacher's queries become their labels where they are good enough (PL-DC, arXiv 2505.11075)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule, constant
from depthbox.models.query_head import QuerySegmenter
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.category import CategoryPrior, PrototypeBank, correction_share
from depthbox.supervision.parts.points import DrawnPoints, extent_of
from depthbox.supervision.parts.pseudo_labels import as_targets
from depthbox.supervision.parts.query_start import query_start
from depthbox.supervision.parts.query_terms import QueryTargets, query_terms, targets_of
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.parts.teaching import Taught, Teaching
from depthbox.supervision.parts.thresholds import AdaptiveThresholds, FixedThresholds, Thresholds

__all__ = ["PlDc", "split"]

SUPERVISED = {name: name for name in ("query_class", "query_bce", "query_dice", "query_start")}
PSEUDO = {"query_class": "pseudo_class", "query_bce": "pseudo_mask_bce", "query_dice": "pseudo_mask_dice"}


class PlDc:
    """`Method` for a `QuerySegmenter`: labelled images in both views, unlabelled ones in the strong view as the teacher sees the weak one."""

    def __init__(
        self, config: PlDcConfig, student: QuerySegmenter, *, steps: int, class_names: Sequence[str] = ()
    ) -> None:
        self.config = config
        picked = student.config.query.start == "picked"
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.weights, name))
            for name in config.weights.__slots__
            if picked or name != "query_start"
        }
        start = round(config.burn_in * steps)
        device = next(student.parameters()).device
        self.thresholds = _thresholds(config, student.classes, device)
        self.prior = _prior(config, student, class_names, device)
        share = correction_share(start, steps, first=config.category_weight)
        teacher = Teacher(student, start=start, keep=config.keep) if start < steps else None
        self.teaching = None if teacher is None else Teaching(config, teacher, self.thresholds, self.prior, share)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        labelled, unlabelled = split(batch)
        self.thresholds.count(torch.cat([batch.instances[i].labels for i in labelled.tolist()] or [labelled]))
        taught = self._taught(batch, labelled, unlabelled, step)
        learned = unlabelled if taught.kept else unlabelled[:0]

        views, number = batch.views, len(labelled)
        images = torch.cat((views.weak[labelled], views.strong[labelled], views.strong[learned]))
        owners = torch.cat((labelled, labelled, learned))
        # A rank may have been dealt nothing to learn from; it says something all the same, as DDP needs.
        outputs = student(images, views.valid[owners]) if len(owners) else student(views.strong[:1], views.valid[:1])

        ids = batch.image_ids or range(len(batch.instances))
        names = [(step, ids[i], int(n >= number)) for n, i in enumerate(owners.tolist())]
        extent, query = extent_of(views.valid[owners]), self.config.query
        points = DrawnPoints(query.points, names=names[: 2 * number], extent_xy=extent[: 2 * number])
        truth = [targets_of(batch.instances[i]) for i in labelled.tolist()] * 2
        mine = outputs.of(slice(0, 2 * number))
        supervised = query_terms(mine, truth, query, points=points)
        if mine.cells is not None:
            supervised["query_start"] = query_start(mine.cells, truth, no_object=query.no_object)

        points = DrawnPoints(query.points, names=names[2 * number :], extent_xy=extent[2 * number :])
        targets = [as_targets(one, weigh_pixels=self.config.uncertainty) for one in taught.kept]
        pseudo = query_terms(
            outputs.of(slice(2 * number, len(owners))), targets, query, points=points, background=_any(targets)
        )
        return Losses(terms=_named(supervised, SUPERVISED) | _named(pseudo, PSEUDO), figures=taught.figures)

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


def split(batch: Batch) -> tuple[Tensor, Tensor]:
    """Indices of the images with masks and of those with nothing; an empty `supervision` says that all have masks."""
    device = batch.views.weak.device
    words = batch.supervision or ["masks"] * len(batch.instances)
    labelled = [i for i, word in enumerate(words) if word == "masks"]
    unlabelled = [i for i, word in enumerate(words) if word == "none"]
    assert len(labelled) + len(unlabelled) == len(words), "an image has masks or nothing"
    return tuple(torch.tensor(rows, dtype=torch.int64, device=device) for rows in (labelled, unlabelled))  # type: ignore[return-value]


def _thresholds(config: PlDcConfig, classes: int, device: torch.device) -> Thresholds:
    highest = (config.class_threshold, config.mask_threshold)
    if config.adapt_on == "off":
        return FixedThresholds(*highest).to(device)
    return AdaptiveThresholds(classes, highest=highest, floors=config.floors, keep=config.adapt_keep).to(device)


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


def _named(terms: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {names[name]: term for name, term in terms.items()}

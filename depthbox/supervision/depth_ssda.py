"""Semantic segmentation with few labels: mixtures of images by depth teach what a slow copy of the student believes (METHODS 3.3 to 3.5; arXiv 2108.12545).

Images of another domain can have all the labels; a depth task beside the classes can learn from video.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Frames
from depthbox.core.dist import global_mean
from depthbox.core.schedule import Schedule, constant
from depthbox.models.dense_head import DenseNetwork, DenseOutputs
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.mixing_step import Mixing, Words
from depthbox.supervision.parts.photometric_terms import photometric_terms, tie_noise
from depthbox.supervision.parts.pixel_terms import labelled_cross_entropy, weighted_cross_entropy
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["DepthSsda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """The images of a batch that are learnt from unmixed, those with frames first."""

    images: Tensor
    places: list[int]
    """In the batch."""
    frames: Frames | None


class DepthSsda:
    """`Method` for a `DenseNetwork`; `source`: batches hold images of another domain."""

    def __init__(self, config: DepthSsdaConfig, student: DenseNetwork, *, source: bool, steps: int) -> None:
        self.config, self.source, self.multi_task = config, source, student.config.multi_task
        there = {
            "labelled_ce": True,
            "source_ce": source,
            "mixed_ce": config.mixing != "none",
            "cross_domain_ce": config.cross_domain,
            "photometric": self.multi_task,
            "smoothness": self.multi_task,
        }
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.weights, name)) for name, is_there in there.items() if is_there
        }
        taught = config.mixing != "none" or config.cross_domain
        self.start = round(config.burn_in * steps)
        teacher = Teacher(student, start=self.start, keep=config.keep) if taught else None
        self.mixing = None if teacher is None else Mixing(config, teacher)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        words = Words.of(batch)
        mixing = self.mixing if step >= self.start else None
        mixtures, figures = mixing(batch, words, step) if mixing is not None else ({}, {})

        plain = self._plain(batch, words)
        images = [plain.images, *(mixture.pixels.images for mixture in mixtures.values())]
        outputs: DenseOutputs = student(torch.cat(images), plain.frames)
        logits, *mixed = outputs.logits.split([len(one) for one in images])

        terms = self._supervised(outputs, logits, batch, words, plain.places)
        silent = (
            [] if mixing is not None else [name for name in ("mixed_ce", "cross_domain_ce") if name in self.weights]
        )
        terms |= {name: 0 * outputs.logits.sum() for name in silent}
        terms |= {
            name: weighted_cross_entropy(seen, mixture.pixels.labels, mixture.weight, valid=mixture.pixels.valid)
            for (name, mixture), seen in zip(mixtures.items(), mixed, strict=True)
        }
        if plain.frames is not None:
            of_video, seen = self._of_video(outputs, plain.frames, step)
            terms, figures = terms | of_video, figures | seen
        return Losses(terms=terms, figures=figures)

    def after_step(self, student: nn.Module, step: int) -> None:
        if self.mixing is not None:
            self.mixing.teacher.follow(student, step)

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.mixing is None else {"teacher": self.mixing.teacher}

    def evaluated(self, student: nn.Module, step: int) -> nn.Module:
        """The student: with it rows without a teacher are compared fairly."""
        return student

    def _plain(self, batch: Batch, words: Words) -> _Plain:
        """At least one, as DDP needs."""
        learned, strong, frames = {*words.labelled, *words.source}, batch.views.strong, batch.frames
        if not self.multi_task:
            places = sorted(learned) or [0]
            return _Plain(images=strong[places], places=places, frames=None)
        assert frames is not None, "model.multi_task learns from frames"
        moving = torch.isfinite(frames.intrinsics).all(1).nonzero()[:, 0].tolist()
        kept = Frames(plain=frames.plain[moving], strong=frames.strong[moving], intrinsics=frames.intrinsics[moving])
        still = sorted(learned - set(moving)) or ([] if moving else [0])
        return _Plain(images=torch.cat((kept.strong[:, 0], strong[still])), places=moving + still, frames=kept)

    def _supervised(
        self, outputs: DenseOutputs, logits: Tensor, batch: Batch, words: Words, places: list[int]
    ) -> dict[str, Tensor]:
        """Cross-entropy with the truth; with two heads the mean of theirs."""
        assert batch.semantic is not None
        heads = [logits] if outputs.side is None else [logits, outputs.side[: len(places)]]
        rows = {"labelled_ce": words.labelled} | ({"source_ce": words.source} if self.source else {})
        terms = {}
        for name, members in rows.items():
            at = [place for place, image in enumerate(places) if image in set(members)]
            truth = batch.semantic[[places[place] for place in at]]
            terms[name] = torch.stack([labelled_cross_entropy(head[at], truth) for head in heads]).mean()
        return terms

    def _of_video(
        self, outputs: DenseOutputs, frames: Frames, step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """L_D of the images with frames, labelled or not: the mean over those of all ranks."""
        number = len(frames.plain)
        figures: dict[str, Tensor] = {}
        terms = {name: 0 * outputs.logits.sum() for name in ("photometric", "smoothness")}
        if number:
            assert outputs.sde is not None
            found, figures = photometric_terms(outputs.sde, frames, self.config.video, tie_noise(frames, step))
            terms = {name: found[name] for name in terms}
        return {name: global_mean(term * number, float(number)) for name, term in terms.items()}, figures

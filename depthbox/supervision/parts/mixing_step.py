"""The mixtures of a step: which images of a batch meet, what the teacher believes of them, how much that counts (METHODS 3.3, 3.5)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from depthbox.core.batch import Batch
from depthbox.core.dist import sum_over_ranks
from depthbox.core.domains import domain_pairs
from depthbox.core.shapes import IGNORE
from depthbox.models.dense_head import DenseNetwork
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.parts.mixed_views import (
    Pixels,
    believed,
    by_classes,
    by_depth,
    domain_margins,
    mixed,
    partners,
    strong_mixture,
)
from depthbox.supervision.parts.pseudo_pixels import pseudo_figures
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["Mixing", "Mixture", "Words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Places of a batch by what its images are labelled with."""

    labelled: Sequence[int]
    unlabelled: Sequence[int]
    source: Sequence[int]

    @classmethod
    def of(cls, batch: Batch) -> "Words":
        """Without a word every image is labelled."""
        words = batch.supervision or ["labels"] * len(batch.views.weak)
        found = {word: [i for i, one in enumerate(words) if one == word] for word in ("labels", "none", "source")}
        assert sum(map(len, found.values())) == len(words), f"words of a semantic batch: {sorted(set(words))}"
        return cls(labelled=found["labels"], unlabelled=found["none"], source=found["source"])

    @property
    def target(self) -> list[int]:
        return sorted([*self.labelled, *self.unlabelled])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The mixtures of a batch that one loss looks at."""

    pixels: Pixels
    """Their images in the strong view."""
    mask: Tensor
    """Bool "M H W": the own image's pixels."""
    weight: Tensor
    """Of each pixel's cross-entropy: a scalar, or "M H W"."""
    q: Tensor
    """The share of confident pixels, of the global batch: of the mixed ones, or for mixtures of two domains of the target's before they are mixed; with `trust`
    teacher of those of them that the teacher labelled."""
    own: Sequence[int]
    other: Sequence[int]
    """Places in the batch."""


class Mixing:
    """Teacher and mixtures of a run."""

    def __init__(self, config: DepthSsdaConfig, teacher: Teacher) -> None:
        assert isinstance(teacher.model, DenseNetwork)
        self.config, self.teacher, self.model = config, teacher, teacher.model

    @torch.no_grad()
    def __call__(self, batch: Batch, words: Words, step: int) -> tuple[dict[str, Mixture], dict[str, Tensor]]:
        """Mixtures by the name of their loss, and figures about them; every rank calls it at every step from the burn-in on."""
        pixels, figures = self._known(batch, words)
        found = {}
        if self.config.mixing != "none":
            found["mixed_ce"] = self._of_target(batch, pixels, words, step)
        if self.config.cross_domain:
            found["cross_domain_ce"] = self._across(batch, pixels, words.target, step)
        for name, mixture in found.items():
            named, taught = name.removesuffix("_ce"), mixture.pixels.labels != IGNORE
            figures |= {
                f"{named}/own_share": mixture.mask.float().mean(),
                f"{named}/taught_share": taught.float().mean(),
                f"{named}/q": mixture.q,
            }
        return found, figures

    def _known(self, batch: Batch, words: Words) -> tuple[Pixels, dict[str, Tensor]]:
        """Every pixel's truth, or what the teacher believes of it in the plain view."""
        views, truth = batch.views, batch.semantic
        assert truth is not None, "a semantic batch has labels"
        looked = list(words.unlabelled)
        shape = (0, self.model.classes, *truth.shape[1:])
        probabilities = (
            self.model.class_logits(views.weak[looked]).softmax(1) if looked else views.weak.new_zeros(shape)
        )
        confidence, labels = believed(truth, probabilities * views.valid[looked][:, None], looked)
        disparity = None if views.disparity is None else views.disparity[:, 0]
        told = torch.zeros_like(views.valid)
        told[looked] = True
        found = Pixels(
            images=views.weak,
            labels=labels,
            confidence=confidence,
            disparity=disparity,
            valid=views.valid,
            told=told,
        )
        known = None if batch.semantic_truth is None else batch.semantic_truth[looked]
        return found, pseudo_figures(confidence[looked], labels[looked], known, threshold=self.config.confidence)

    def _of_target(self, batch: Batch, pixels: Pixels, words: Words, step: int) -> Mixture:
        """Both orders of pairs of target images. As published all weighs q, the confident share of the mixed pixels (3.3)."""
        alike = self.config.mixed_images == "unlabelled"
        target = list(words.unlabelled) if alike else words.target
        # Labelled and unlabelled images take turns in a batch: every other step they meet their like.
        other = [target[place] for place in partners(len(target), apart=1 if alike else 1 + step % 2)]
        names = _names(batch, step, target, other)
        one, two = pixels.of(target), pixels.of(other)
        by_depths = self.config.mixing == "depth"
        mask = by_depth(one, two, margin=self.config.margin) if by_depths else by_classes(one, names)
        both = self._strong(mixed(mask, one, two), names)
        q = self._share(both)
        return Mixture(pixels=both, mask=mask, weight=self._weight(both, q), q=q, own=target, other=other)

    def _across(self, batch: Batch, pixels: Pixels, target: list[int], step: int) -> Mixture:
        """Source pixels in front of target pixels, whose word weighs q, the confident share of the unmixed target (3.5); the margin's sign is drawn."""
        pairs = domain_pairs(batch.supervision)
        own, other = [source for source, _ in pairs], [target for _, target in pairs]
        names = _names(batch, step, own, other)
        one, two = pixels.of(own), pixels.of(other)
        mask = by_depth(one, two, margin=domain_margins(self.config.margin, names, one.images))
        both = self._strong(mixed(mask, one, two), names)
        q = self._share(pixels.of(target))
        weight = torch.where(mask, torch.ones_like(q), self._weight(both, q))
        return Mixture(pixels=both, mask=mask, weight=weight, q=q, own=own, other=other)

    def _weight(self, pixels: Pixels, q: Tensor) -> Tensor:
        """What the labels of mixtures count: `q` alike for all of a step, or 1 and 0 pixel by pixel, or `q` where the teacher said them and 1 where they are true."""
        if self.config.trust == "pixel":
            return (pixels.confidence >= self.config.confidence).to(pixels.images.dtype)
        if self.config.trust == "teacher":
            return torch.where(pixels.told, q, torch.ones_like(q))
        return q

    def _share(self, pixels: Pixels) -> Tensor:
        """`ops.mixing.confident_share` of the global batch: of its pixels that are no padding, with `trust` teacher of those that the teacher labelled.
        Unlabelled ones count, as unsure."""
        counted = pixels.valid & pixels.told if self.config.trust == "teacher" else pixels.valid
        sure = (pixels.confidence >= self.config.confidence) & counted
        counts = sum_over_ranks(torch.stack((sure.sum(), counted.sum())).float())
        return counts[0] / counts[1].clamp(min=1)

    def _strong(self, pixels: Pixels, names: Sequence[tuple[int, ...]]) -> Pixels:
        images = strong_mixture(pixels.images, names, jitter=self.config.jitter, blur=self.config.blur)
        return replace(pixels, images=images)


def _names(batch: Batch, step: int, own: Sequence[int], other: Sequence[int]) -> list[tuple[int, ...]]:
    """What the draws of each mixture are named by: the same on every world size."""
    ids = batch.image_ids or range(len(batch.views.weak))
    return [(step, ids[a], ids[b]) for a, b in zip(own, other, strict=True)]

"""A second opinion on the class of a pseudo mask (PL-DC, dynamic category correction), from what is in the mask alone."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.dist import sum_over_ranks
from depthbox.core.schedule import Schedule

__all__ = ["CategoryPrior", "PrototypeBank", "Shown", "correction_share", "fused", "mask_pooled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Objects of one image."""

    image: Tensor
    """Float "3 H W" in 0..1."""
    disparity: Tensor | None
    """Float "1 H W" in 0..1, NaN where unknown."""
    features: Tensor | None
    """The teacher's, "C h w"; None for who does not ask for them."""
    masks: Tensor
    """Float "N h w" in 0..1, the same photo at any stride."""


class CategoryPrior(Protocol):
    """Whoever can name what a mask holds."""

    of_kept: bool
    """Whether it learns from pseudo labels too."""
    of_features: bool
    """Whether it knows objects by the teacher's features."""
    width: int
    """Of a description."""

    def described(self, shown: Shown, *, labelled: bool = False) -> Tensor:
        """What it knows the objects by: "N width"; of `labelled` ones, to learn from."""
        ...

    def probabilities(self, rows: Tensor) -> Tensor:
        """Class probabilities "N K" of described objects; NaN for a class not known yet."""
        ...

    def learn(self, rows: Tensor, labels: Tensor) -> None:
        """Descriptions "N width" of this rank's labelled (and kept) objects; every rank calls it once a step."""
        ...


def correction_share(start: int, steps: int, *, first: float) -> Schedule:
    """How much the second opinion counts: `first` at `start`, half a cosine down to 0 at the end of the run."""
    length = max(steps - start, 1)
    return lambda step: first / 2 * (1 + math.cos(math.pi * min(max((step - start) / length, 0.0), 1.0)))


def fused(own: Tensor, other: Tensor, share: float) -> Tensor:
    """share * other + (1 - share) * own of probabilities "N K". A class the other does not know (NaN) keeps the own probability; the others share the rest.

    >>> fused(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.0, 1.0, torch.nan]]), 0.5)
    tensor([[0.2500, 0.5500, 0.2000]])
    """
    known = torch.isfinite(other)
    room = (own * known).sum(1, keepdim=True)
    said = torch.where(known, torch.nan_to_num(other) * room, own)
    return share * said + (1 - share) * own


def mask_pooled(features: Tensor, masks: Tensor) -> Tensor:
    """Mean of features "C h w" over each mask "N H W" (0..1, the same photo at any stride): "N C", in float32 whatever surrounds it."""
    if not len(masks):
        return features.new_zeros(0, len(features), dtype=torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        small = F.interpolate(masks[None].float(), size=features.shape[-2:], mode="area")[0].flatten(1)
        return small @ features.float().flatten(1).T / small.sum(1, keepdim=True).clamp(min=1e-6)


class PrototypeBank(nn.Module):
    """One mean feature a class, a moving average over the steps; probability = softmax(cosine / temperature) around the prototypes' mean.

    Needs no download. Sums are taken over ranks, so every rank has the same bank.
    """

    of_kept = of_features = True
    prototypes: Tensor
    seen: Tensor

    def __init__(self, classes: int, channels: int, *, keep: float = 0.99, temperature: float = 0.2) -> None:
        super().__init__()
        self.keep, self.temperature, self.width = keep, temperature, channels
        self.register_buffer("prototypes", torch.zeros(classes, channels))
        self.register_buffer("seen", torch.zeros(classes))

    def described(self, shown: Shown, *, labelled: bool = False) -> Tensor:
        assert shown.features is not None
        return mask_pooled(shown.features, shown.masks)

    @torch.no_grad()
    def probabilities(self, rows: Tensor) -> Tensor:
        known = self.seen > 0
        centre = (self.prototypes * known[:, None]).sum(0) / known.sum().clamp(min=1)
        rows = F.normalize(rows - centre, dim=1)
        alike = rows @ F.normalize(self.prototypes - centre, dim=1).T / self.temperature
        said = alike.masked_fill(~known, -torch.inf).softmax(1)
        return said.masked_fill(~known, torch.nan)

    @torch.no_grad()
    def learn(self, rows: Tensor, labels: Tensor) -> None:
        sums = torch.zeros_like(self.prototypes).index_add_(0, labels, rows.to(self.prototypes))
        number = torch.bincount(labels, minlength=len(sums)).to(sums)
        sums, number = sum_over_ranks(sums), sum_over_ranks(number)
        mean = sums / number.clamp(min=1)[:, None]
        # The first steps of a class count as one average, not as copies of its first object.
        self.seen += number > 0
        keep = (1 - 1 / self.seen.clamp(min=1)).clamp(max=self.keep)[:, None]
        there = number[:, None] > 0
        self.prototypes.copy_(torch.where(there, keep * self.prototypes + (1 - keep) * mean, self.prototypes))

"""How good a pseudo label must be: one pair of thresholds for all classes, one a class that follows the teacher's confidence (PL-DC), or one a class
that lets as many through as there should be."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from depthbox.core.dist import mean_over_ranks, sum_over_ranks

__all__ = ["AdaptiveThresholds", "CountedThresholds", "FixedThresholds", "Thresholds"]

_BINS = 100


class Thresholds(Protocol):
    """What class and mask quality of a class must reach."""

    def of(self, labels: Tensor) -> Tensor:
        """Float "2 N": the class and the mask threshold of int64 labels "N"."""
        ...

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        """The predictions of one image: labels "N", qualities "2 N"."""
        ...

    def agree(self) -> None:
        """The end of a batch: every rank goes on with the same thresholds."""
        ...


class FixedThresholds(nn.Module):
    """The same for every class and all the time (the published default)."""

    values: Tensor

    def __init__(self, class_threshold: float, mask_threshold: float) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor([class_threshold, mask_threshold]), persistent=False)

    def of(self, labels: Tensor) -> Tensor:
        return self.values[:, None].expand(-1, len(labels))

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        """Nothing to learn."""

    def agree(self) -> None:
        """Nothing to agree on."""


class AdaptiveThresholds(nn.Module):
    """tau_k <- keep tau_k + (1 - keep) * mean quality of the class's predictions in an image, never below its floor.

    Starts at lowest + (highest - lowest) n_k / sum n, n_k the objects of class k among the labelled data, or at its floor if that is higher. As published
    it has no floor (0), and drifts far below 0.85.
    """

    tau: Tensor
    floors: Tensor

    def __init__(
        self,
        objects: Sequence[int],
        *,
        highest: tuple[float, float],
        lowest: tuple[float, float],
        floors: tuple[float, float],
        keep: float,
    ) -> None:
        """`objects`: n_k of every class."""
        super().__init__()
        self.keep = keep
        share = torch.tensor(objects, dtype=torch.float32) / max(sum(objects), 1)
        low, high, floor = (torch.tensor(pair)[:, None] for pair in (lowest, highest, floors))
        self.register_buffer("tau", torch.maximum(low + (high - low) * share, floor))
        self.register_buffer("floors", floor, persistent=False)

    def of(self, labels: Tensor) -> Tensor:
        return self.tau[:, labels]

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        number = torch.bincount(labels, minlength=self.tau.shape[1]).to(self.tau)
        means = torch.zeros_like(self.tau).index_add_(1, labels, qualities.to(self.tau)) / number.clamp(min=1)
        moved = torch.maximum(torch.lerp(means, self.tau, self.keep), self.floors)
        self.tau.copy_(torch.where(number > 0, moved, self.tau))

    def agree(self) -> None:
        self.tau.copy_(mean_over_ranks(self.tau))


class CountedThresholds(nn.Module):
    """Of every class as many an image as the labelled images hold, the best (ours, after LabelMatch: Chen et al. 2022, arXiv 2206.06608).

    The class threshold is the quality that n_k / images predictions of class k an image reach, on a moving average of histograms that keeps `keep` an image,
    and never below `lowest`; the mask threshold stays. However sure a teacher becomes of what it repeats, there is no more of it.
    """

    histogram: Tensor
    """Float "K bins": predictions an image whose mask is good enough, by their class quality; its average over `seen`, which is 0 at first and goes to 1."""
    seen: Tensor
    batch: Tensor
    """The counts of the batch, "K bins", and how many images they are of."""
    images: Tensor
    lowest: Tensor
    rate: Tensor

    def __init__(self, objects: Sequence[int], images: int, *, lowest: tuple[float, float], keep: float) -> None:
        """`objects`: n_k of every class, in so many labelled `images`; `lowest`: of the class and the mask threshold."""
        super().__init__()
        self.keep = keep
        self.register_buffer("histogram", torch.zeros(len(objects), _BINS))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("batch", torch.zeros(len(objects), _BINS), persistent=False)
        self.register_buffer("images", torch.zeros(()), persistent=False)
        self.register_buffer("lowest", torch.tensor(lowest), persistent=False)
        self.register_buffer("rate", torch.tensor(objects, dtype=torch.float32) / max(images, 1), persistent=False)

    def of(self, labels: Tensor) -> Tensor:
        above = self.histogram.flip(1).cumsum(1).flip(1) / self.seen.clamp(min=1e-6)
        # Exactly as many as there should be are not too many, whatever the average's last bits say.
        reached = (above > self.rate[:, None] + 1e-4).sum(1) / _BINS
        classes = torch.maximum(reached, self.lowest[0])[labels]
        return torch.stack((classes, self.lowest[1].expand_as(classes)))

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        good = qualities[1] >= self.lowest[1]
        bins = (qualities[0] * _BINS).long().clamp(max=_BINS - 1)
        self.batch.index_put_((labels[good], bins[good]), self.batch.new_ones(()), accumulate=True)
        self.images += 1

    def agree(self) -> None:
        """The batch counts as one, whichever rank saw what of it."""
        counts, images = sum_over_ranks(self.batch), sum_over_ranks(self.images)
        keep = self.keep**images
        self.histogram.copy_(torch.lerp(counts / images.clamp(min=1), self.histogram, keep))
        self.seen.copy_(torch.lerp(torch.ones_like(self.seen), self.seen, keep))
        self.batch.zero_()
        self.images.zero_()

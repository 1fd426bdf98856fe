"""How good a pseudo label must be: one pair of thresholds for all classes, or one a class that follows the teacher's confidence (PL-DC)."""

from typing import Protocol

import torch
from torch import Tensor, nn

from depthbox.core.dist import mean_over_ranks, sum_over_ranks

__all__ = ["AdaptiveThresholds", "FixedThresholds", "Thresholds"]


class Thresholds(Protocol):
    """What class and mask quality of a class must reach."""

    def count(self, labels: Tensor) -> None:
        """Labelled objects of this rank's batch; they count until `start`."""
        ...

    def start(self) -> None:
        """From now on thresholds are asked for; every rank calls it at the same step, and again does nothing."""
        ...

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

    def count(self, labels: Tensor) -> None:
        """Nothing to learn."""

    def start(self) -> None:
        """Nothing to do."""

    def of(self, labels: Tensor) -> Tensor:
        return self.values[:, None].expand(-1, len(labels))

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        """Nothing to learn."""

    def agree(self) -> None:
        """Nothing to agree on."""


class AdaptiveThresholds(nn.Module):
    """tau_k <- keep tau_k + (1 - keep) * mean quality of the class's predictions in an image, never below its floor.

    Starts at floor + (threshold - floor) n_k / sum n, n_k the labelled objects of class k that were counted. As published it has no floor, and drifts
    far below 0.85.
    """

    tau: Tensor
    counts: Tensor
    started: Tensor
    highest: Tensor
    floors: Tensor

    def __init__(self, classes: int, *, highest: tuple[float, float], floors: tuple[float, float], keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.register_buffer("tau", torch.zeros(2, classes))
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.register_buffer("highest", torch.tensor(highest)[:, None], persistent=False)
        self.register_buffer("floors", torch.tensor(floors)[:, None], persistent=False)

    def count(self, labels: Tensor) -> None:
        if not self.started:
            self.counts += torch.bincount(labels, minlength=len(self.counts)).to(self.counts)

    def start(self) -> None:
        if not self.started:
            counts = sum_over_ranks(self.counts)
            self.tau.copy_(self.floors + (self.highest - self.floors) * counts / counts.sum().clamp(min=1))
            self.started.fill_(True)

    def of(self, labels: Tensor) -> Tensor:
        return self.tau[:, labels]

    def see(self, labels: Tensor, qualities: Tensor) -> None:
        number = torch.bincount(labels, minlength=len(self.counts)).to(self.tau)
        means = torch.zeros_like(self.tau).index_add_(1, labels, qualities.to(self.tau)) / number.clamp(min=1)
        moved = torch.maximum(torch.lerp(means, self.tau, self.keep), self.floors)
        self.tau.copy_(torch.where(number > 0, moved, self.tau))

    def agree(self) -> None:
        self.tau.copy_(mean_over_ranks(self.tau))

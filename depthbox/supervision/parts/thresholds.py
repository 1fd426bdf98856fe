"""How good a pseudo label must be: one pair of thresholds for all classes, or one a class that follows the teacher's confidence (PL-DC)."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from depthbox.core.dist import mean_over_ranks

__all__ = ["AdaptiveThresholds", "FixedThresholds", "Thresholds"]


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

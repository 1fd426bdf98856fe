"""Which location answers for which object (FCOS centre sampling)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from depthbox.core.batch import Instances
from depthbox.models.detector import LEVEL_STRIDES, DenseOutputs

__all__ = ["Positives", "assign", "spread"]

RANGES = ((0, 64), (64, 128), (128, 256), (256, 512), (512, float("inf")))
CENTER_RADIUS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Positives:
    """The locations that answer for an object, grouped by image."""

    image_index: Tensor
    """Int64 "N"."""
    point_index: Tensor
    """Int64 "N"."""
    object_index: Tensor
    """Int64 "N": which of its image's instances."""
    boxes_xyxy: Tensor
    """Float "N 4": that instance's box."""
    labels: Tensor
    """Int64 "N"."""

    def take(self, kept: Tensor) -> "Positives":
        return Positives(**{name: getattr(self, name)[kept] for name in self.__slots__})

    def within(self, images: slice) -> Tensor:
        """Which of them are of these images: int64 rows."""
        return ((self.image_index >= images.start) & (self.image_index < images.stop)).nonzero()[:, 0]

    def of(self, images: slice) -> "Positives":
        """Those of these images, which count from 0."""
        mine = self.take(self.within(images))
        return replace(mine, image_index=mine.image_index - images.start)


def assign(dense: DenseOutputs, instances: Sequence[Instances]) -> Positives:
    """A location is positive where it lies within 1.5 strides of an object's centre, inside its box, and the largest side distance falls in its
    level's range; of several objects the smallest wins (FCOS, Tian et al. 2019)."""
    rows = []
    for image, objects in enumerate(instances):
        points, owners = _assign_one(dense.points_xy, dense.level, objects.boxes_xyxy)
        rows.append(
            (torch.full_like(points, image), points, owners, objects.boxes_xyxy[owners], objects.labels[owners])
        )
    image_index, point_index, owner, boxes, labels = (torch.cat(column) for column in zip(*rows, strict=True))
    return Positives(
        image_index=image_index, point_index=point_index, object_index=owner, boxes_xyxy=boxes, labels=labels
    )


def _assign_one(points_xy: Tensor, level: Tensor, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    if not len(boxes_xyxy):
        return level.new_zeros(0), level.new_zeros(0)
    sides = torch.cat((points_xy[:, None] - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - points_xy[:, None]), -1)
    ranges = points_xy.new_tensor(RANGES)[level]
    reach = points_xy.new_tensor(LEVEL_STRIDES)[level, None] * CENTER_RADIUS
    centers = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    near = (points_xy[:, None] - centers).abs().amax(-1) < reach
    longest = sides.amax(-1)
    fits = (longest >= ranges[:, :1]) & (longest <= ranges[:, 1:])
    candidates = near & (sides.amin(-1) > 0) & fits
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(-1).expand_as(longest)
    smallest, owner = torch.where(candidates, areas, torch.inf).min(1)
    points = smallest.isfinite().nonzero()[:, 0]
    return points, owner[points]


def spread(positives: Positives, scores: Tensor, *, per_image: int) -> Tensor:
    """Indices of at most `per_image` positives of each image, taken turn by turn from its objects, best score first ("N" scores)."""
    order = torch.argsort(scores, descending=True, stable=True)
    key = positives.image_index * (int(positives.object_index.max()) + 1 if len(scores) else 1) + positives.object_index
    turn = _rank_within(key[order])
    by_turn = order[torch.argsort(turn, stable=True)]
    place = _rank_within(positives.image_index[by_turn])
    return by_turn[place < per_image].sort().values


def _rank_within(groups: Tensor) -> Tensor:
    """0, 1, 2, ... within each group, in the order given."""
    order = torch.argsort(groups, stable=True)
    ordered = groups[order]
    starts = torch.searchsorted(ordered, ordered)
    ranks = torch.empty_like(groups)
    ranks[order] = torch.arange(len(groups), device=groups.device) - starts
    return ranks

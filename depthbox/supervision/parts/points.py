"""Where a mask is looked at: points instead of pixels (PointRend, Kirillov et al. 2020). Points are (x, y) in 0..1 of the padded image."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.rng import torch_generator
from depthbox.supervision.config import PointsConfig

__all__ = ["DrawnPoints", "Points", "at_points", "extent_of", "most_uncertain", "shared_points"]


class Points(Protocol):
    """Where the masks of an image are compared."""

    def matching(self, image: int) -> Tensor:
        """ "P 2", shared by all queries and targets of the image, and by all layers."""
        ...

    def loss(self, image: int, logits: Tensor) -> Tensor:
        """ "L N P 2" for the matched mask logits "L N h w" of every layer, in the order of their targets."""
        ...


class DrawnPoints:
    """Uniform for matching; for the loss three times as many, of which the most uncertain stay, and some fresh uniform ones.

    Every draw is named, so it is the same on every world size and after a resume. None falls on padding.
    """

    def __init__(self, config: PointsConfig, *, names: Sequence[tuple[int, ...]], extent_xy: Tensor) -> None:
        """`names`: the numbers that name each image's draws (step, image, appearance); `extent_xy` "B 2": how far it reaches into the padded image."""
        self.config, self.names, self.extent = config, names, extent_xy

    def of(self, images: slice) -> "DrawnPoints":
        """The part of some images of the batch."""
        return DrawnPoints(self.config, names=self.names[images], extent_xy=self.extent[images])

    def matching(self, image: int) -> Tensor:
        return self._uniform(image, "matching points", (self.config.number,))

    def loss(self, image: int, logits: Tensor) -> Tensor:
        c, pairs = self.config, logits.flatten(0, 1)
        uncertain = int(c.uncertain * c.number)
        candidates = self._uniform(image, "loss points", (len(pairs), int(c.oversample * c.number)))
        fresh = self._uniform(image, "more loss points", (len(pairs), c.number - uncertain))
        points = torch.cat((most_uncertain(pairs, candidates, uncertain), fresh), 1)
        return points.unflatten(0, logits.shape[:2])

    def _uniform(self, image: int, name: str, shape: tuple[int, ...]) -> Tensor:
        device = self.extent.device
        # A million points a photo: a GPU draws its own.
        stream = torch.Generator(device).manual_seed(torch_generator(name, *self.names[image]).initial_seed())
        return torch.rand(*shape, 2, generator=stream, device=device) * self.extent[image]


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Maps "N h w" at their own points "N P 2", bilinear, with zeros outside: "N P"."""
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


def shared_points(maps: Tensor, points: Tensor) -> Tensor:
    """Maps "N h w" all at the same points "P 2": "N P"."""
    return F.grid_sample(maps[None], 2 * points[None, None] - 1, align_corners=False)[0, :, 0]


@torch.no_grad()
def most_uncertain(logits: Tensor, candidates: Tensor, number: int) -> Tensor:
    """Of each mask's candidates "N C 2" the `number` with the smallest |logit|: "N P 2"."""
    picked = (-at_points(logits, candidates).abs()).topk(number, 1).indices
    return candidates.gather(1, picked[..., None].expand(-1, -1, 2))


def extent_of(valid: Tensor) -> Tensor:
    """How far photos reach to the right and down, as shares of the padded image: "B 2" (x, y) of bool "B H W"."""
    return torch.stack([valid.any(1).float().mean(1), valid.any(2).float().mean(1)], 1)

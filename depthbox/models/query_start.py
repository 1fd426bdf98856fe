"""What queries are before they have looked at anything: the same for every photo, or picked from it (FastInst, He et al. 2023)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PICKED_STRIDE", "LearnedStart", "Picked", "PickedStart", "peaks"]


PICKED_STRIDE = 8
"""Of the cells that queries are picked from."""


class LearnedStart(nn.Module):
    """A learned content and place a query (Mask2Former)."""

    def __init__(self, channels: int, queries: int) -> None:
        super().__init__()
        self.content, self.place = nn.Embedding(queries, channels), nn.Embedding(queries, channels)

    def forward(
        self, level: Tensor, places: Tensor, padding: Tensor, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Content and place "B Q C" for a level "B C h w"."""
        # len() would make a constant of the number of photos in a trace.
        return (
            self.content.weight.expand(level.shape[0], -1, -1),
            self.place.weight.expand(level.shape[0], -1, -1),
            None,
        )


class PickedStart(nn.Module):
    """The features of the cells that look most like the middle of an object, and their positions; fewer queries where the photo has fewer cells."""

    def __init__(self, channels: int, classes: int, queries: int) -> None:
        super().__init__()
        self.queries = queries
        self.classify = nn.Linear(channels, classes + 1)

    def forward(
        self, level: Tensor, places: Tensor, padding: Tensor, hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor, "Picked"]:
        """Content and place "B Q C", and what was picked; first the cells of `hints` (bool "B h w"), as true boxes join the proposals of Faster R-CNN."""
        rows = level.flatten(2).transpose(1, 2)
        cells = self.classify(rows).float().unflatten(1, level.shape[-2:])
        cell = peaks(cells, padding, self.queries, hints)
        at = cell[..., None].expand(-1, -1, level.shape[1])
        middles = _middles(level).expand(level.shape[0], -1, -1)
        picked = Picked(cells=cells, points_xy=middles.gather(1, cell[..., None].expand(-1, -1, 2)))
        return rows.gather(1, at), places.expand(level.shape[0], -1, -1).gather(1, at), picked


def _middles(level: Tensor) -> Tensor:
    """Of all cells, in pixels, "1 hw 2": a graph cannot divide an index by a width that it does not know."""
    y, x = ((torch.arange(n, device=level.device) + 0.5) * PICKED_STRIDE for n in level.shape[-2:])
    grid = torch.stack((x[None].expand(y.shape[0], -1), y[:, None].expand(-1, x.shape[0])), -1)
    return grid.flatten(0, 1)[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Where the queries of each photo were picked."""

    cells: Tensor
    """Float "B h w K+1": the class logits of every cell."""
    points_xy: Tensor
    """Float "B Q 2", in pixels."""

    def of(self, images: slice) -> "Picked":
        return Picked(cells=self.cells[images], points_xy=self.points_xy[images])


@torch.no_grad()
def peaks(cells: Tensor, padding: Tensor, number: int, hints: Tensor | None = None) -> Tensor:
    """The flat indices "B Q" of the cells "B h w K+1" that are the likeliest to hold an object: local maxima first, padding last."""
    likely = 1 - cells.softmax(-1)[..., -1]
    highest = F.max_pool2d(likely[:, None], 3, 1, 1)[:, 0] == likely
    score = (likely + highest).flatten(1).masked_fill(padding, -1.0)
    if hints is not None:
        score = score + 4.0 * hints.flatten(1)
    return score.topk(min(number, score.shape[1]), 1).indices

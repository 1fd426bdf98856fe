"""What queries are before they have looked at anything: the same for every photo, or picked from it (FastInst, He et al. 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LearnedStart", "PickedStart", "peaks"]


class LearnedStart(nn.Module):
    """A learned content and place a query (Mask2Former)."""

    def __init__(self, channels: int, queries: int) -> None:
        super().__init__()
        self.content, self.place = nn.Embedding(queries, channels), nn.Embedding(queries, channels)

    def forward(self, level: Tensor, places: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, None]:
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

    def forward(self, level: Tensor, places: Tensor, padding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Content and place "B Q C", and the class logits of every cell "B h w K+1"."""
        rows = level.flatten(2).transpose(1, 2)
        cells = self.classify(rows).float().unflatten(1, level.shape[-2:])
        at = peaks(cells, padding, self.queries)[..., None].expand(-1, -1, level.shape[1])
        return rows.gather(1, at), places.expand(level.shape[0], -1, -1).gather(1, at), cells


@torch.no_grad()
def peaks(cells: Tensor, padding: Tensor, number: int) -> Tensor:
    """The flat indices "B Q" of the cells "B h w K+1" that are the likeliest to hold an object: local maxima first, padding last."""
    likely = 1 - cells.softmax(-1)[..., -1]
    highest = F.max_pool2d(likely[:, None], 3, 1, 1)[:, 0] == likely
    score = (likely + highest).flatten(1).masked_fill(padding, -1.0)
    return score.topk(min(number, score.shape[1]), 1).indices

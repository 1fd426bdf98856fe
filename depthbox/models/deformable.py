"""Multi-scale deformable attention in plain torch (Deformable DETR, arXiv 2010.04159): every cell reads a few places of every level, wherever they lie."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DeformableAttention", "cell_middles", "read_at"]


def read_at(maps: Sequence[Tensor], places: Tensor, weights: Tensor) -> Tensor:
    """sum over levels and points of weight * value, bilinear, 0 outside (eq. 3): "B S C".

    maps: values "B C h w" of each level, the heads one after the other in C; places "B S M L P 2": (x, y) in 0..1 of the image, of S readers, M heads,
    L levels and P points; weights "B S M L P".
    """
    heads = places.shape[2]
    total: Tensor | None = None
    for level, values in enumerate(maps):
        by_head = values.reshape(-1, values.shape[1] // heads, *values.shape[-2:])
        where = places[:, :, :, level].transpose(1, 2).flatten(0, 1)
        read = F.grid_sample(by_head, 2 * where - 1, padding_mode="zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        found = (read * share).sum(-1)
        total = found if total is None else total + found
    assert total is not None
    return total.reshape(-1, maps[0].shape[1], total.shape[-1]).transpose(1, 2)


def cell_middles(maps: Sequence[Tensor]) -> Tensor:
    """The (x, y) in 0..1 of every cell of every level, row by row, level after level: "S 2"."""
    found = []
    for level in maps:
        height, width = level.shape[-2:]
        ys = (torch.arange(height, device=level.device) + 0.5) / height
        xs = (torch.arange(width, device=level.device) + 0.5) / width
        found.append(torch.stack((xs.expand(height, -1), ys[:, None].expand(-1, width)), -1).flatten(0, 1))
    return torch.cat(found)


def _of_image(offsets: Tensor, maps: Sequence[Tensor]) -> Tensor:
    """Offsets "B S M L P 2" in cells of each level, as shares of the image."""
    sides = [(level.shape[-1], level.shape[-2]) for level in maps]
    parts = [
        torch.stack((offsets[:, :, :, n, :, 0] / width, offsets[:, :, :, n, :, 1] / height), -1)
        for n, (width, height) in enumerate(sides)
    ]
    return torch.stack(parts, 3)


class DeformableAttention(nn.Module):
    """`heads` times `points` places of each of `levels` levels; their offsets, in cells of that level, and their weights are linear in the reader."""

    def __init__(self, channels: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(channels, heads * levels * points * 2)
        self.weights = nn.Linear(channels, heads * levels * points)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.offsets.bias.copy_(self._first_offsets())

    def forward(self, readers: Tensor, middles: Tensor, maps: Sequence[Tensor], padding: Tensor) -> Tensor:
        """readers "B S C" at `middles` "S 2"; maps "B C h w" of all levels; `padding` bool "B S" of their cells, whose values are 0: "B S C"."""
        shape = (*readers.shape[:2], self.heads, self.levels, self.points)
        # In bfloat16 a place would be known to a cell of a large map at best.
        with torch.autocast(readers.device.type, enabled=False):
            offsets = self.offsets(readers.float()).reshape(*shape, 2)
            places = middles[:, None, None, None] + _of_image(offsets, maps)
            weights = self.weights(readers.float()).reshape(*shape[:3], -1).softmax(-1).reshape(shape)
        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        values = self.value(cells).float().masked_fill(padding[:, :, None], 0.0)
        parts = values.transpose(1, 2).split([level.shape[-2] * level.shape[-1] for level in maps], 2)
        read = read_at(
            [part.unflatten(2, level.shape[-2:]) for part, level in zip(parts, maps, strict=True)], places, weights
        )
        return self.out(read)

    def _first_offsets(self) -> Tensor:
        """Each head looks in its own direction, its points 1, 2, ... cells away."""
        turn = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack((turn.cos(), turn.sin()), -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        far = torch.arange(1, self.points + 1)[:, None]
        return (direction[:, None, None] * far).expand(-1, self.levels, -1, -1).flatten()

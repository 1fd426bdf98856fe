"""The pixel decoder as published: deformable attention over strides 32, 16 and 8, then one step of a feature pyramid to stride 4 (Mask2Former)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.models.deformable import DeformableAttention, cell_middles
from depthbox.models.pixel_decoder import PixelMaps, normed
from depthbox.models.query_decoder import sine_positions

__all__ = ["DeformablePixelDecoder"]

LEVELS, POINTS = 3, 4


class DeformablePixelDecoder(nn.Module):
    """Backbone features at strides 4 to 32 -> `PixelMaps` of `channels` channels."""

    def __init__(self, in_channels: Sequence[int], channels: int, *, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(normed(c, channels, 1) for c in reversed(in_channels[1:]))
        self.level = nn.Embedding(LEVELS, channels)
        self.layers = nn.ModuleList(_Layer(channels, heads, width) for _ in range(layers))
        self.lateral = normed(in_channels[0], channels, 1)
        self.smooth = nn.Sequential(normed(channels, channels, 3), nn.ReLU())
        self.fine = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Sequence[Tensor], padding: Sequence[Tensor]) -> PixelMaps:
        """`padding`: bool "B hw" of strides 32, 16 and 8, True on cells that nothing is read from."""
        maps = [project(found) for project, found in zip(self.project, reversed(features[1:]), strict=True)]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
        places = torch.cat([sine_positions(m) + self.level.weight[i] for i, m in enumerate(maps)], 1)
        middles, hidden = cell_middles(maps), torch.cat(list(padding), 1)
        for layer in self.layers:
            tokens = layer(tokens, places, middles, maps, hidden)
            parts = tokens.transpose(1, 2).split([level.shape[-2] * level.shape[-1] for level in maps], 2)
            maps = [part.unflatten(2, level.shape[-2:]) for part, level in zip(parts, maps, strict=True)]
        finest = self.lateral(features[0])
        merged = finest + F.interpolate(maps[-1], size=finest.shape[-2:], mode="bilinear", align_corners=False)
        return PixelMaps(levels=maps, fine=self.fine(self.smooth(merged)))


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.look = DeformableAttention(channels, heads=heads, levels=LEVELS, points=POINTS)
        self.think = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(
        self, tokens: Tensor, places: Tensor, middles: Tensor, maps: Sequence[Tensor], padding: Tensor
    ) -> Tensor:
        tokens = self.norms[0](tokens + self.look(tokens + places, middles, maps, padding))
        return self.norms[1](tokens + self.think(tokens))

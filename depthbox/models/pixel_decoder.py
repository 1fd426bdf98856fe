"""The pixel decoder of the query head: a feature pyramid with group norm, without any compiled operator (MaskFormer's form of an FPN)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PixelDecoder", "PixelMaps", "normed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelMaps:
    """What the queries look at, and what their masks are made from."""

    levels: list[Tensor]
    """Float "B C h w" at strides 32, 16 and 8: the order in which the queries look."""
    fine: Tensor
    """Float "B C h w" at stride 4."""


class PixelDecoder(nn.Module):
    """Backbone features at strides 4 to 32 -> `PixelMaps` of `channels` channels.

    Deviation from the published model, which has deformable attention here (`deformable_decoder`): faster, and costs about 2 AP.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(normed(c, channels, 1) for c in in_channels)
        self.smooth = nn.ModuleList(nn.Sequential(normed(channels, channels, 3), nn.ReLU()) for _ in in_channels)
        self.fine = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Sequence[Tensor], padding: Sequence[Tensor] = ()) -> PixelMaps:
        """Convolutions look at padding like at anything else."""
        levels: list[Tensor] = []
        for lateral, smooth, found in zip(
            reversed(self.lateral), reversed(self.smooth), reversed(features), strict=True
        ):
            merged = lateral(found)
            if levels:
                merged = merged + F.interpolate(levels[-1], size=merged.shape[-2:], mode="nearest")
            levels.append(smooth(merged))
        return PixelMaps(levels=levels[:3], fine=self.fine(levels[3]))


def normed(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """A convolution of the same size with group norm."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, channels_out))

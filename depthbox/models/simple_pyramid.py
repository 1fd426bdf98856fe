"""A plain vision transformer as a pyramid: its last map, scaled up and down (ViTDet's simple pyramid, Li et al. 2022)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SimplePyramid"]

WIDTHS = (128, 256)


class SimplePyramid(nn.Module):
    """Strides 4, 8, 16 and 32 from the last block of a timm transformer with one stride, whatever its patch size.

    A patch that is not 16 pixels gets an image resized so that there is a token every 16 pixels of the given one.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        info: Any = network.feature_info
        self.network, self.patch = network, info.reduction()[-1]
        width, (fine, middle) = info.channels()[-1], WIDTHS
        up = nn.ConvTranspose2d
        self.to_4 = nn.Sequential(up(width, middle, 2, 2), nn.GroupNorm(8, middle), nn.GELU(), up(middle, fine, 2, 2))
        self.to_8 = up(width, middle, 2, 2)
        self.feature_info = _Info((4, 8, 16, 32), (fine, middle, width, width))

    def freeze(self, stages: int) -> None:
        """1: what makes tokens of pixels; 4: the whole transformer; between them a share of its blocks."""
        model: Any = self.network.model
        blocks = len(model.blocks) * (stages - 1) // 3
        kept = {p for block in model.blocks[blocks:] for p in block.parameters()} if stages < 4 else set()
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in kept)

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = (side // 16 * self.patch for side in images.shape[-2:])
        if (height, width) != tuple(images.shape[-2:]):
            images = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
        (last,) = self.network(images)
        return [self.to_4(last), self.to_8(last), last, F.max_pool2d(last, 2)]


class _Info:
    """As timm describes a pyramid."""

    def __init__(self, strides: tuple[int, ...], channels: tuple[int, ...]) -> None:
        self._strides, self._channels = list(strides), list(channels)

    def reduction(self) -> list[int]:
        return self._strides

    def channels(self) -> list[int]:
        return self._channels

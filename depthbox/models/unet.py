"""The decoder of depth from video, which semantic segmentation takes over: a U-Net of ELU and group norms on features at strides 4 to 32."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UNet"]

_STEM = 16
_RATES = (6, 12, 18)


class UNet(nn.Module):
    """Features at strides 16, 8 and 4 (`coarse`), then at 2, where it looks at the image itself (`fine`); their widths are 4, 3, 2 and 1 `width`.

    `context` is what the deepest features pass first: a convolution, or `aspp` (the published network's).
    """

    def __init__(
        self, channels: Sequence[int], width: int, *, context: Literal["convolution", "aspp"] = "convolution"
    ) -> None:
        super().__init__()
        self.widths = (4 * width, 3 * width, 2 * width, width)
        self.stem = nn.Conv2d(3, _STEM, 3, stride=2, padding=1)
        first = _Aspp if context == "aspp" else _convolution
        self.context = first(channels[-1], 4 * width)
        inputs, skips = (4 * width, *self.widths[:-1]), (*channels[-2::-1], _STEM)
        self.joins = nn.ModuleList(_convolution(a + b, c) for a, b, c in zip(inputs, skips, self.widths, strict=True))

    def coarse(self, features: Sequence[Tensor]) -> list[Tensor]:
        """At strides 16, 8 and 4, of a backbone's four maps."""
        x, found = self.context(features[-1]), []
        for join, skip in zip(list(self.joins)[:3], features[-2::-1], strict=True):
            x = _joined(join, x, skip)
            found.append(x)
        return found

    def fine(self, x: Tensor, images: Tensor) -> Tensor:
        """At stride 2, of the last of `coarse` and the images in 0..1."""
        return _joined(self.joins[3], x, F.elu(self.stem(images - 0.5)))


class _Aspp(nn.Module):
    """Atrous spatial pyramid (DeepLab): one cell, three dilations and the mean of all, side by side. Meant for a dilated last stage (stride 16)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        kernels = [(1, 1), *((3, rate) for rate in _RATES), (1, 1)]
        self.branches = nn.ModuleList(_convolution(channels_in, channels_out, *kernel) for kernel in kernels)
        self.project = _convolution(len(kernels) * channels_out, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        *local, whole = self.branches
        mean = whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in local), mean], 1))


def _joined(join: nn.Module, x: Tensor, skip: Tensor) -> Tensor:
    return join(torch.cat((F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip), 1))


def _convolution(channels_in: int, channels_out: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    options = {"padding": padding, "dilation": dilation, "padding_mode": "replicate", "bias": False}
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, **options),  # type: ignore[arg-type]
        nn.GroupNorm(8, channels_out),
        nn.ELU(inplace=True),
    )

"""Depth from one image and motion between two, learnt together from video: a timm encoder and a light decoder for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.batch import Frames
from depthbox.models import backbone as backbones
from depthbox.models.backbone import Backbone, build_backbone
from depthbox.models.config import SdeModelConfig
from depthbox.ops.geometry import rigid_motion

__all__ = ["OUTPUT_STRIDES", "SdeNetwork", "SdeOutputs", "build_sde", "input_size", "untrained_sde"]

OUTPUT_STRIDES = (2, 4, 8, 16)
"""Of the four disparities; the published network has 1, 2, 4, 8, which cost a CPU four times as much."""

_STEM = 16
_POSE_WIDTH = 128
_POSE_SCALE = 0.01
"""Of the pose decoder's output: motions start near nothing (monodepth2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeOutputs:
    """What the networks say of one batch of frames."""

    sigmoids: Sequence[Tensor]
    """Float "B 1 h w" in (0, 1), 1 = nearest, at `OUTPUT_STRIDES`, finest first."""
    motions: Tensor
    """Float "B S 4 4": from the target's camera to that of the frame before, and of the frame after."""
    features: Tensor
    """The deepest features of the target "B C h w"."""


class SdeNetwork(nn.Module):
    """`forward` is a training step's; `sigmoids(images)[0]` is what counts at inference."""

    def __init__(self, config: SdeModelConfig, backbone: Backbone, pose_backbone: Backbone) -> None:
        super().__init__()
        self.config, self.mixed = config, False
        self.backbone, self.decoder = backbone, _Decoder(backbone.channels, config.width)
        self.pose_backbone, self.pose_head = _for_pairs(pose_backbone), _PoseHead(pose_backbone.channels[-1])

    def forward(self, frames: Frames) -> SdeOutputs:
        target, before, after = frames.strong.unbind(1)
        sigmoids, deepest = self._depth(target)
        return SdeOutputs(sigmoids=sigmoids, motions=self._motions(target, before, after), features=deepest)

    def sigmoids(self, images: Tensor) -> list[Tensor]:
        """Of images "B 3 H W" in 0..1, both sides multiples of 32."""
        return self._depth(images)[0]

    def _depth(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            features = self.backbone(images)
            logits = self.decoder(images, features)
        return [level.float().sigmoid() for level in logits], features[-1].float()

    def _motions(self, target: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Pairs are shown in the order of time; the way to the frame before is the way back of what the network sees."""
        pairs = torch.cat((torch.cat((before, target), 1), torch.cat((target, after), 1)))
        if self.config.pose_stride > 1:
            pairs = F.avg_pool2d(pairs, self.config.pose_stride)
        with torch.autocast(pairs.device.type, torch.bfloat16, enabled=self.mixed):
            values = self.pose_head(self.pose_backbone(pairs)[-1])
        (turn_back, turn_on), (back, on) = (v.float().chunk(2) for v in values.split(3, 1))
        return torch.stack((rigid_motion(turn_back, back, invert=True), rigid_motion(turn_on, on)), 1)


def build_sde(config: SdeModelConfig) -> SdeNetwork:
    """The networks of `config`, the encoders' weights loaded; those of new layers come from torch's global seed."""
    backbone = build_backbone(config.backbone, weights=config.weights)
    if config.weights != "none":
        backbone.freeze(config.frozen_stages)
    return SdeNetwork(config, backbone, build_backbone(config.pose_backbone, weights=config.pose_weights))


def untrained_sde(config: SdeModelConfig) -> SdeNetwork:
    """The architecture alone, to load a run into: the weights it started from may be gone, and are not needed."""
    encoders = (config.backbone, config.weights), (config.pose_backbone, config.pose_weights)
    own, pose = (
        build_backbone(name, weights="none") if weights == "none" else Backbone(backbones._create(name, "none"))
        for name, weights in encoders
    )
    return SdeNetwork(config, own, pose)


def input_size(size_hw: tuple[int, ...], *, short_side: int) -> tuple[int, int]:
    """The multiples of 32 nearest to the size of an image whose short side is `short_side`: what the networks see, a little stretched."""
    factor = short_side / min(size_hw)
    height, width = (max(round(side * factor / 32), 1) * 32 for side in size_hw)
    return height, width


class _Decoder(nn.Module):
    """U-Net with ELU: features at strides 4 to 32 and a look at the image itself for stride 2.

    The published one has no norms and a learning rate of 1e-4 for 300 000 steps. At five times that rate, which a run of 2000 steps needs, its
    logits are off the sigmoid's ends within twenty steps; group norms hold them. Heads start at 0: everything is equally far.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        widths = (4 * width, 3 * width, 2 * width, width)
        self.stem = nn.Conv2d(3, _STEM, 3, stride=2, padding=1)
        self.context = _convolution(channels[-1], 4 * width)
        inputs, skips = (4 * width, *widths[:-1]), (*channels[-2::-1], _STEM)
        self.joins = nn.ModuleList(_convolution(a + b, c) for a, b, c in zip(inputs, skips, widths, strict=True))
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in widths)
        for head in self.heads.children():
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Logits at `OUTPUT_STRIDES`."""
        skips = [*features[-2::-1], F.elu(self.stem(images - 0.5))]
        x, logits = self.context(features[-1]), []
        for join, head, skip in zip(self.joins, self.heads, skips, strict=True):
            up = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = join(torch.cat((up, skip), 1))
            logits.append(head(x))
        return logits[::-1]


class _PoseHead(nn.Sequential):
    """Axis-angle and translation "B 6" of the pairs' deepest features."""

    def __init__(self, channels: int) -> None:
        width = _POSE_WIDTH
        super().__init__(
            nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 6, 1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return _POSE_SCALE * super().forward(features).mean((2, 3))


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, padding_mode="replicate", bias=False),
        nn.GroupNorm(8, channels_out),
        nn.ELU(inplace=True),
    )


def _for_pairs(backbone: Backbone) -> Backbone:
    """The same network for two images at once: its first convolution sees both, with half of its weights each."""
    first = next(m for m in backbone.network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    first.weight = nn.Parameter(torch.cat((first.weight.data, first.weight.data), 1) / 2)
    first.in_channels = 6
    backbone.mean, backbone.std = backbone.mean.repeat(1, 2, 1, 1), backbone.std.repeat(1, 2, 1, 1)
    return backbone

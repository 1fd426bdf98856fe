"""Depth from one image and motion between two, learnt together from video: a timm encoder and a light decoder for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from depthbox.core.batch import Frames
from depthbox.models.backbone import Backbone, bare_backbone, build_backbone
from depthbox.models.config import SdeModelConfig
from depthbox.models.pose_net import PoseHead, for_pairs, motions_between
from depthbox.models.unet import UNet

__all__ = ["OUTPUT_STRIDES", "DepthDecoder", "SdeNetwork", "SdeOutputs", "build_sde", "input_size", "untrained_sde"]

OUTPUT_STRIDES = (2, 4, 8, 16)
"""Of the four disparities; the published network has 1, 2, 4, 8, which cost a CPU four times as much."""


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
        self.backbone = backbone
        self.decoder = DepthDecoder(backbone.channels, config.width, context=config.context, start=config.start)
        self.pose_backbone, self.pose_head = for_pairs(pose_backbone), PoseHead(pose_backbone.channels[-1])

    def forward(self, frames: Frames) -> SdeOutputs:
        sigmoids, deepest = self._depth(frames.strong[:, 0])
        return SdeOutputs(sigmoids=sigmoids, motions=self._motions(frames), features=deepest)

    def sigmoids(self, images: Tensor) -> list[Tensor]:
        """Of images "B 3 H W" in 0..1, both sides multiples of 32."""
        return self._depth(images)[0]

    def _depth(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            features = self.backbone(images)
            logits = self.decoder(images, features)
        return [level.float().sigmoid() for level in logits], features[-1].float()

    def _motions(self, frames: Frames) -> Tensor:
        stride, mixed = self.config.pose_stride, self.mixed
        return motions_between(frames.strong, self.pose_backbone, self.pose_head, stride=stride, mixed=mixed)


def build_sde(config: SdeModelConfig) -> SdeNetwork:
    """The networks of `config`, the encoders' weights loaded; those of new layers come from torch's global seed."""
    backbone = build_backbone(config.backbone, weights=config.weights, dilated=config.dilated)
    if config.weights != "none":
        backbone.freeze(config.frozen_stages)
    return SdeNetwork(config, backbone, build_backbone(config.pose_backbone, weights=config.pose_weights))


def untrained_sde(config: SdeModelConfig) -> SdeNetwork:
    """The architecture alone, to load a run into: the weights it started from may be gone, and are not needed."""
    own = bare_backbone(config.backbone, weights=config.weights, dilated=config.dilated)
    return SdeNetwork(config, own, bare_backbone(config.pose_backbone, weights=config.pose_weights))


def input_size(size_hw: tuple[int, ...], *, short_side: int) -> tuple[int, int]:
    """The multiples of 32 nearest to the size of an image whose short side is `short_side`: what the networks see, a little stretched."""
    factor = short_side / min(size_hw)
    height, width = (max(round(side * factor / 32), 1) * 32 for side in size_hw)
    return height, width


class DepthDecoder(UNet):
    """With a disparity at each stride.

    The published one has no norms and a learning rate of 1e-4 for 300 000 steps. At five times that rate, which a run of 2000 steps needs, its
    logits are off the sigmoid's ends within twenty steps; group norms hold them. Heads start at the logit `start`: everything is
    equally far.
    """

    def __init__(
        self, channels: Sequence[int], width: int, *, context: Literal["convolution", "aspp"], start: float = 0.0
    ) -> None:
        super().__init__(channels, width, context=context)
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in self.widths)
        for head in self.heads.children():
            nn.init.zeros_(head.weight)  # type: ignore[arg-type]
            nn.init.constant_(head.bias, start)  # type: ignore[arg-type]

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """Logits at `OUTPUT_STRIDES`."""
        coarse = self.coarse(features)
        return self.logits([*coarse, self.fine(coarse[-1], images)])

    def logits(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Of features at strides 16, 8, 4 and 2, finest first."""
        # In float32 whatever the features are: with the 8 bits of bfloat16 a disparity is a staircase, its steps 1.5 % of it.
        with torch.autocast(levels[0].device.type, enabled=False):
            return [head(x.float()) for head, x in zip(self.heads, levels, strict=True)][::-1]

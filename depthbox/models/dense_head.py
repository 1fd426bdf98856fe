"""Semantic segmentation on what depth from video has learnt: the same encoder, a copy of its decoder, a classifier (METHODS 3.4; arXiv 2108.12545).

With `multi_task` the depth decoder stays beside it, and the two tell each other what they see.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.batch import Frames
from depthbox.models.backbone import Backbone, bare_backbone, build_backbone
from depthbox.models.config import DenseModelConfig
from depthbox.models.pose_net import PoseHead, for_pairs, motions_between
from depthbox.models.sde_net import DepthDecoder, SdeOutputs
from depthbox.models.unet import UNet

__all__ = ["DenseNetwork", "DenseOutputs", "SelfAttention", "build_dense", "from_depth_network", "untrained_dense"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseOutputs:
    """One forward of the student."""

    logits: Tensor
    """Float "B K H W" at the size of the images."""
    side: Tensor | None
    """The same from before the exchange; None where there is one decoder."""
    sde: SdeOutputs | None
    """Of the first images, those with frames."""


class DenseNetwork(nn.Module):
    """`forward` is a training step's; `class_logits(images)` is what counts at inference. Sides of images are multiples of 32."""

    def __init__(
        self, config: DenseModelConfig, backbone: Backbone, pose_backbone: Backbone | None, *, classes: int
    ) -> None:
        super().__init__()
        self.config, self.classes, self.mixed = config, classes, False
        self.backbone = backbone
        self.decoder = UNet(backbone.channels, config.width, context=config.context)
        self.classifier = nn.Conv2d(self.decoder.widths[3], classes, 1)
        self.exchange = None
        if pose_backbone is not None:
            self.depth_decoder = DepthDecoder(backbone.channels, config.width, context=config.context)
            self.exchange = _Exchange(self.decoder.widths[2])
            self.side_classifier = nn.Conv2d(self.decoder.widths[2], classes, 1)
            self.pose_backbone, self.pose_head = for_pairs(pose_backbone), PoseHead(pose_backbone.channels[-1])

    def forward(self, images: Tensor, frames: Frames | None = None) -> DenseOutputs:
        """Images "B 3 H W" in 0..1; the first of them are the targets of `frames`, which a network with `multi_task` learns depth from."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            features = self.backbone(images)
            x, side, levels = self.decoder.coarse(features)[-1], None, []
            if self.exchange is not None:
                levels, side = self.depth_decoder.coarse(features), self.side_classifier(x)
                x, levels[-1] = self.exchange(x, levels[-1])
            logits = self.classifier(self.decoder.fine(x, images))
        size = images.shape[-2:]
        return DenseOutputs(
            logits=_full_size(logits, size),
            side=None if side is None else _full_size(side, size),
            sde=None if frames is None else self._sde(frames, images, levels, features),
        )

    def class_logits(self, images: Tensor) -> Tensor:
        """Float "B K H W" at the size of the images "B 3 H W" in 0..1."""
        return self(images).logits

    def _sde(self, frames: Frames, images: Tensor, levels: list[Tensor], features: list[Tensor]) -> SdeOutputs:
        assert self.exchange is not None, "depth is learnt where model.multi_task is set"
        number, stride = len(frames.strong), self.config.pose_stride
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            seen = [level[:number] for level in levels]
            logits = self.depth_decoder.logits([*seen, self.depth_decoder.fine(seen[-1], images[:number])])
        motions = motions_between(frames.strong, self.pose_backbone, self.pose_head, stride=stride, mixed=self.mixed)
        return SdeOutputs(
            sigmoids=[level.float().sigmoid() for level in logits],
            motions=motions,
            features=features[-1][:number].float(),
        )


class SelfAttention(nn.Module):
    """SA(x) = conv3x3(x) * sigmoid(conv3x3_att(x)); the attention starts at 0, a half everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message = nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.message(x) * self.attention(x).sigmoid()


class _Exchange(nn.Module):
    """F_seg' = F_seg + SA(F_depth), F_depth' = F_depth + SA(F_seg), both of them from before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_classes, self.to_depth = SelfAttention(channels), SelfAttention(channels)

    def forward(self, classes: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        return classes + self.to_classes(depth), depth + self.to_depth(classes)


def build_dense(config: DenseModelConfig, *, classes: int) -> DenseNetwork:
    """The network of `config`, the encoders' weights loaded; those of new layers come from torch's global seed."""
    backbone = build_backbone(config.backbone, weights=config.weights, dilated=config.dilated)
    if config.weights != "none":
        backbone.freeze(config.frozen_stages)
    pose = build_backbone(config.pose_backbone, weights=config.pose_weights) if config.multi_task else None
    return DenseNetwork(config, backbone, pose, classes=classes)


def untrained_dense(config: DenseModelConfig, *, classes: int) -> DenseNetwork:
    """The architecture alone, to load a run into."""
    backbone = bare_backbone(config.backbone, weights=config.weights, dilated=config.dilated)
    pose = bare_backbone(config.pose_backbone, weights=config.pose_weights) if config.multi_task else None
    return DenseNetwork(config, backbone, pose, classes=classes)


def from_depth_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a depth network under this one's names: its decoder starts both decoders. Any other state stays as it is."""
    if not any(name.startswith("decoder.heads.") for name in state):
        return dict(state)
    depth = {f"depth_{name}": tensor for name, tensor in state.items() if name.startswith("decoder.")}
    return {name: tensor for name, tensor in state.items() if not name.startswith("decoder.heads.")} | depth


def _full_size(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)

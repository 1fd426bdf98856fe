"""How the camera moves between two images: an encoder that sees both at once, six numbers, rigid motions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.models.backbone import Backbone
from depthbox.ops.geometry import rigid_motion

__all__ = ["PoseHead", "for_pairs", "motions_between"]

_WIDTH = 128
_SCALE = 0.01
"""Of the decoder's output: motions start near nothing (monodepth2)."""


class PoseHead(nn.Sequential):
    """Axis-angle and translation "B 6" of the pairs' deepest features."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, _WIDTH, 1), nn.ReLU(inplace=True),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(_WIDTH, 6, 1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return _SCALE * super().forward(features).mean((2, 3))


def for_pairs(backbone: Backbone) -> Backbone:
    """The same network for two images at once: its first convolution sees both, with half of its weights each."""
    first = next(m for m in backbone.network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    first.weight = nn.Parameter(torch.cat((first.weight.data, first.weight.data), 1) / 2)
    first.in_channels = 6
    backbone.mean, backbone.std = backbone.mean.repeat(1, 2, 1, 1), backbone.std.repeat(1, 2, 1, 1)
    return backbone


def motions_between(images: Tensor, backbone: nn.Module, head: nn.Module, *, stride: int, mixed: bool) -> Tensor:
    """Float "B 2 4 4" of frames "B 3 3 H W" (target, before, after): from the target's camera to that of the frame before, and of the frame after.

    Pairs are shown in the order of time; the way to the frame before is the way back of what the network sees.
    """
    target, before, after = images.unbind(1)
    pairs = torch.cat((torch.cat((before, target), 1), torch.cat((target, after), 1)))
    if stride > 1:
        pairs = F.avg_pool2d(pairs, stride)
    with torch.autocast(pairs.device.type, torch.bfloat16, enabled=mixed):
        values = head(backbone(pairs)[-1])
    (turn_back, turn_on), (back, on) = (v.float().chunk(2) for v in values.split(3, 1))
    return torch.stack((rigid_motion(turn_back, back, invert=True), rigid_motion(turn_on, on)), 1)

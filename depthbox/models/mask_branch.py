"""The 16 mask features every instance of an image shares, and the controller that writes each instance's head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.models.dynamic_head import FEATURES

__all__ = ["Controller", "MaskBranch"]


class MaskBranch(nn.Module):
    """P3 + P4 + P5 at stride 8 through four convolutions to "B 16 h w" (CondInst).

    With `stride` 4 the sum is upsampled and the backbone's stride-4 features are added first: small photos need the finer grid.
    """

    def __init__(self, channels: int, fine_channels: int, *, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.refine = nn.ModuleList(_block(channels, width) for _ in range(3))
        self.fine = (
            nn.Sequential(nn.Conv2d(fine_channels, width, 1, bias=False), nn.GroupNorm(8, width))
            if stride == 4
            else None
        )
        coarse, after = (2, 2) if stride == 4 else (4, 0)
        self.tower = nn.Sequential(*(_block(width, width) for _ in range(coarse)))
        self.fine_tower = nn.Sequential(*(_block(width, width) for _ in range(after)))
        self.out = nn.Conv2d(width, FEATURES, 1)

    def forward(self, levels: Sequence[Tensor], fine: Tensor) -> Tensor:
        merged = self.refine[0](levels[0])
        for refine, features in zip(self.refine[1:], levels[1:3], strict=True):
            merged = merged + F.interpolate(
                refine(features), size=merged.shape[-2:], mode="bilinear", align_corners=False
            )
        merged = self.tower(merged)
        if self.fine is not None:
            merged = F.interpolate(merged, size=fine.shape[-2:], mode="bilinear", align_corners=False) + self.fine(fine)
        return self.out(self.fine_tower(merged))


class Controller(nn.Module):
    """A 3x3 convolution on the box tower, computed only where an instance is: the same numbers as the dense map, for a hundredth of the work."""

    def __init__(self, channels: int, parameters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, parameters, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, tower: Sequence[Tensor], image_index: Tensor, point_index: Tensor) -> Tensor:
        """Head parameters "N p" for instances at flat location `point_index` (levels one after the other) of image `image_index`."""
        patches = torch.cat([F.pad(t, (1, 1, 1, 1)).flatten(2) for t in tower], 2)
        where = torch.cat(_patch_positions(tower))[point_index]
        taken = patches.transpose(1, 2)[image_index[:, None], where]
        weight = self.conv.weight.flatten(2).permute(2, 1, 0).flatten(0, 1)
        assert self.conv.bias is not None
        return taken.flatten(1).float() @ weight.float() + self.conv.bias.float()


def _patch_positions(tower: Sequence[Tensor]) -> list[Tensor]:
    """For each location of each level the nine flat positions of its 3x3 patch in the padded, concatenated maps: "hw 9"."""
    positions, start = [], 0
    for features in tower:
        height, width = features.shape[-2:]
        rows = torch.arange(height, device=features.device) * (width + 2)
        corners = rows[:, None] + torch.arange(width, device=features.device)
        steps = torch.arange(3, device=features.device)
        patch = (steps[:, None] * (width + 2) + steps).flatten()
        positions.append(corners.flatten()[:, None] + patch + start)
        start += (height + 2) * (width + 2)
    return positions


def _block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU())

"""FCOS: one class score, one box and one quality per location, and the features a mask controller reads there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LEVEL_STRIDES", "DenseOutputs", "FcosHead", "locations"]

LEVEL_STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseOutputs:
    """What the detector says at every location, levels one after the other: P = sum of h w."""

    class_logits: Tensor
    """Float "B P K"."""
    boxes_xyxy: Tensor
    """Float "B P 4", pixels."""
    quality_logits: Tensor
    """Float "B P"."""
    points_xy: Tensor
    """Float "P 2", pixels; row-major within a level."""
    level: Tensor
    """Int64 "P"."""
    tower: list[Tensor]
    """Box-tower features "B C h w" by level, for the controller."""

    def of(self, images: slice) -> "DenseOutputs":
        """What it says of some of the images."""
        per_image = {name: getattr(self, name)[images] for name in ("class_logits", "boxes_xyxy", "quality_logits")}
        return replace(self, tower=[level[images] for level in self.tower], **per_image)


def locations(height: int, width: int, stride: int, *, device: torch.device | None = None) -> Tensor:
    """The (x, y) of every cell's middle, stride * index + stride // 2, row-major: "P 2"."""
    ys = torch.arange(height, device=device) * stride + stride // 2
    xs = torch.arange(width, device=device) * stride + stride // 2
    return torch.stack((xs.expand(height, width), ys[:, None].expand(height, width)), -1).flatten(0, 1).float()


class FcosHead(nn.Module):
    """Two shared towers with group norm over all levels (FCOS, Tian et al. 2019); the quality branch sits on the box tower."""

    def __init__(self, channels: int, classes: int, *, depth: int) -> None:
        super().__init__()
        self.class_tower, self.box_tower = _tower(channels, depth), _tower(channels, depth)
        self.classify = nn.Conv2d(channels, classes, 3, padding=1)
        self.box = nn.Conv2d(channels, 4, 3, padding=1)
        self.quality = nn.Conv2d(channels, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(LEVEL_STRIDES)))
        for layer in (self.classify, self.box, self.quality):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # Focal loss starts from a foreground probability of 0.01 (Lin et al. 2017).
        nn.init.constant_(self.classify.bias, -math.log(99))  # type: ignore[arg-type]

        # Sides of two strides to begin with, on the live side of the ReLU.
        nn.init.constant_(self.box.bias, 2.0)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> DenseOutputs:
        rows = [self._level(i, features) for i, features in enumerate(levels)]
        class_logits, boxes, quality, points, tower = zip(*rows, strict=True)
        level = torch.cat([torch.full((p.shape[0],), i, device=p.device) for i, p in enumerate(points)])
        return DenseOutputs(
            class_logits=torch.cat(class_logits, 1),
            boxes_xyxy=torch.cat(boxes, 1),
            quality_logits=torch.cat(quality, 1)[..., 0],
            points_xy=torch.cat(points),
            level=level,
            tower=list(tower),
        )

    def _level(self, i: int, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        stride, tower = LEVEL_STRIDES[i], self.box_tower(features)
        points = locations(features.shape[-2], features.shape[-1], stride, device=features.device)
        sides = F.relu(_rows(self.box(tower)).float() * self.scales[i]) * stride
        boxes = torch.cat((points - sides[..., :2], points + sides[..., 2:]), -1)
        return (
            _rows(self.classify(self.class_tower(features))).float(),
            boxes,
            _rows(self.quality(tower)).float(),
            points,
            tower,
        )


def _tower(channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (9 * channels)))
        layers += [conv, nn.GroupNorm(channels // 8, channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _rows(maps: Tensor) -> Tensor:
    """ "B C h w" -> "B hw C"."""
    return maps.flatten(2).transpose(1, 2)

"""Masks and how well two of them agree."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "aligned_bilinear",
    "aligned_spans",
    "box_masks",
    "dice_loss",
    "ellipse_distance",
    "ellipse_masks",
    "widened",
]


def widened(values: Tensor) -> Tensor:
    """In float32 at least: sums over a map overflow float16, and bfloat16 does not count beyond 256."""
    return values if values.dtype == torch.float64 else values.float()


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - 2 sum(x t) / (sum x^2 + sum t^2 + 1e-5) over all but the first axis: "N" losses in 0..1, float32 (CondInst, BoxInst)."""
    x, t = (widened(values).flatten(1) for values in (probabilities, targets))
    return 1 - 2 * (x * t).sum(1) / (x.square().sum(1) + t.square().sum(1) + 1e-5)


def aligned_bilinear(values: Tensor, factor: int) -> Tensor:
    """Upsample "B C h w" by an integer: cell i lands on output pixel factor * i + factor // 2, where masks are sampled (CondInst)."""
    return values if factor == 1 else _enlarged(values, factor, factor)


def aligned_spans(values: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The largest value in each row and in each column of `aligned_bilinear`: "B C H" and "B C W", without the map itself.

    Between two cells it is linear along an axis, so that no pixel of a row is above all pixels that cells land on.
    """
    return _enlarged(values, factor, 1).amax(-1), _enlarged(values, 1, factor).amax(-2)


def _enlarged(values: Tensor, tall: int, wide: int) -> Tensor:
    """`aligned_bilinear` with a factor for each axis."""
    height, width = values.shape[-2:]
    padded = F.pad(values, (0, int(wide > 1), 0, int(tall > 1)), mode="replicate")
    size = (tall * height + int(tall > 1), wide * width + int(wide > 1))
    dense = F.interpolate(padded, size=size, mode="bilinear", align_corners=True)
    shifted = F.pad(dense, (wide // 2, 0, tall // 2, 0), mode="replicate")
    return shifted[..., : tall * height, : wide * width]


def box_masks(boxes_xyxy: Tensor, size_hw: tuple[int, int], stride: int) -> Tensor:
    """The boxes "N 4" as bool masks "N h w" sampled at the pixel stride // 2 of each cell.

    Full-size rows int(y0)..int(y1) and columns int(x0)..int(x1), both ends included, are 1, then [stride // 2 :: stride] (BoxInst).
    """
    ys = torch.arange(stride // 2, size_hw[0], stride, device=boxes_xyxy.device)
    xs = torch.arange(stride // 2, size_hw[1], stride, device=boxes_xyxy.device)
    x0, y0, x1, y1 = boxes_xyxy.long().unbind(1)
    rows = (ys >= y0[:, None]) & (ys <= y1[:, None])
    columns = (xs >= x0[:, None]) & (xs <= x1[:, None])
    return rows[:, :, None] & columns[:, None, :]


def ellipse_distance(boxes_xyxy: Tensor, size_hw: tuple[int, ...], stride: int) -> Tensor:
    """How far the pixel stride // 2 of each cell of a map of `size_hw` cells is from the centre of each box "N 4", 1 on the inscribed ellipse: "N h w"."""
    ys, xs = (torch.arange(n, device=boxes_xyxy.device) * stride + stride // 2 + 0.5 for n in size_hw)
    centers = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=1e-6) / 2
    x = ((xs - centers[:, :1]) / halves[:, :1]).square()
    y = ((ys - centers[:, 1:]) / halves[:, 1:]).square()
    return (y[:, :, None] + x[:, None, :]).sqrt()


def ellipse_masks(boxes_xyxy: Tensor, size_hw: tuple[int, int], stride: int, *, size: float = 1.0) -> Tensor:
    """The ellipses inscribed in the boxes "N 4", their axes times `size`, as bool masks "N h w", sampled at the pixel stride // 2 of each cell."""
    cells = tuple(len(range(stride // 2, n, stride)) for n in size_hw)
    return ellipse_distance(boxes_xyxy, cells, stride) <= size

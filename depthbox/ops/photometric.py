"""How well one image explains another, and how smooth a disparity is (METHODS 3.1; Godard et al. 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["edge_aware_smoothness", "min_reprojection", "photometric_error", "ssim_distance"]

_C1, _C2 = 0.01**2, 0.03**2


def ssim_distance(x: Tensor, y: Tensor) -> Tensor:
    """clamp((1 - SSIM) / 2, 0, 1) of images "B C H W" in [0, 1], per pixel and channel over 3 x 3 windows, mirrored at the border."""
    x, y = (F.pad(image, (1, 1, 1, 1), mode="reflect") for image in (x, y))
    mean_x, mean_y, xx, yy, xy = (F.avg_pool2d(v, 3, 1) for v in (x, y, x * x, y * y, x * y))
    spread = xx + yy - mean_x.square() - mean_y.square()
    above = (2 * mean_x * mean_y + _C1) * (2 * (xy - mean_x * mean_y) + _C2)
    below = (mean_x.square() + mean_y.square() + _C1) * (spread + _C2)
    return ((1 - above / below) / 2).clamp(0, 1)


def photometric_error(seen: Tensor, target: Tensor) -> Tensor:
    """0.85 SSIM distance + 0.15 |difference|, means over channels: "B 1 H W" of images "B 3 H W" in [0, 1]."""
    difference = (seen - target).abs().mean(1, keepdim=True)
    return 0.85 * ssim_distance(seen, target).mean(1, keepdim=True) + 0.15 * difference


def min_reprojection(warped: Tensor, identity: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Per pixel the least of the errors "B S H W" of the warped sources and of the sources as they are: "B H W", and where a warped one won.

    A pixel that the source explains without any warp teaches nothing: it moves with the camera, or nothing moves. `noise` (1e-5 times a normal
    draw, like `identity`) breaks the ties of a still image.
    """
    still = identity + noise
    best, still_best = warped.amin(1), still.amin(1)
    return torch.minimum(best, still_best), best < still_best


def edge_aware_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """mean |dx d| exp(-mean_c |dx I|), the same in y, added: disparity "B 1 H W" may jump only where the image "B 3 H W" does.

    Training divides the disparity of each image by its mean + 1e-7 first: it must not become smooth by becoming small.
    """
    total = disparity.new_zeros(())
    for axis in (-1, -2):
        edge = image.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (disparity.diff(dim=axis).abs() * torch.exp(-edge)).mean()
    return total

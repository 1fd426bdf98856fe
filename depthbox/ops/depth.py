"""Depth, disparity and the scale each formula wants."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["berhu", "disparity_from_depth", "min_max", "pool_known"]


def min_max(values: Tensor) -> Tensor:
    """Per map "... H W": (v - min) / (max - min) over the known (not NaN) pixels, 0 for a constant map; NaN stays NaN."""
    low = values.nan_to_num(nan=torch.inf).amin((-2, -1), keepdim=True)
    high = values.nan_to_num(nan=-torch.inf).amax((-2, -1), keepdim=True)
    span = high - low
    return (values - low) / torch.where(span > 0, span, 1.0)


def disparity_from_depth(depth_m: Tensor, *, zero: Literal["far", "missing"] = "far") -> Tensor:
    """Min-max of 1/z over the known pixels of metres "... H W"; infinitely far (sky) is 0, NaN stays NaN (METHODS conventions).

    No surface is 0 away: a 0 in `depth_m` stands for sky ("far") or for a pixel that was not measured ("missing", NaN).
    """
    return min_max(torch.where(depth_m == 0, 0.0 if zero == "far" else torch.nan, 1 / depth_m))


def pool_known(values: Tensor, stride: int) -> Tensor:
    """Average of the known pixels of each stride x stride cell of "B 1 H W"; NaN where a cell knows nothing."""
    known = torch.isfinite(values)
    mean_known = F.avg_pool2d(known.float(), stride)
    mean = F.avg_pool2d(torch.where(known, values, 0.0), stride)
    return torch.where(mean_known > 0, mean / mean_known.clamp(min=1e-6), torch.nan)


def berhu(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """|e| up to C = 0.2 max|e|, (e^2 + C^2) / 2C beyond, e = (predicted - target) * mask; the mean over *all* pixels (Laina et al. 2016)."""
    error = ((predicted - target) * mask).abs()
    limit = (0.2 * error.max()).detach().clamp(min=1e-12)
    return torch.where(error <= limit, error, (error.square() + limit.square()) / (2 * limit)).mean()

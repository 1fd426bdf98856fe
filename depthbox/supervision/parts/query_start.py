"""What a picked start learns: which cells are the middle of an object, and of which class (ours; FastInst matches cells to objects instead)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.dist import sum_over_ranks, world_size
from depthbox.models.query_start import PICKED_STRIDE
from depthbox.supervision.parts.query_terms import QueryTargets

__all__ = ["middle_labels", "middles", "query_start"]

REACH = 1.5
"""Cells around the nearest to the centre that count as the middle too."""


def query_start(cells: Tensor, targets: Sequence[QueryTargets], *, no_object: float) -> Tensor:
    """`query_start`: cross-entropy of the cells "B h w K+1" of the given images, "no object" weighing `no_object`, over the sum of weights of the
    global batch; 0 with a graph where there is no image."""
    nothing, size = cells.shape[-1] - 1, (cells.shape[1], cells.shape[2])
    labels = [middle_labels(one, size, nothing=nothing) for one in targets]
    wanted = torch.stack(labels) if labels else torch.zeros(cells.shape[:3], dtype=torch.int64, device=cells.device)
    weights = torch.where(wanted == nothing, no_object, 1.0)
    entropy = F.cross_entropy(cells.flatten(0, 2), wanted.flatten(), reduction="none")
    total = (entropy * weights.flatten()).sum()
    return total * world_size() / sum_over_ranks(weights.sum()).clamp(min=1e-6)


@torch.no_grad()
def middle_labels(targets: QueryTargets, size_hw: tuple[int, int], *, nothing: int) -> Tensor:
    """The class of the object whose middle a cell is, or `nothing`: int64 "h w". Of two objects the smaller.

    The middle: the cells at least half in the mask (or the one that is most) as near to its centre of mass as any, give or take `REACH` cells.
    """
    labels = torch.full(size_hw, nothing, device=targets.labels.device)
    if not len(targets.labels):
        return labels
    away, mass = _away(targets, size_hw)
    middle = away <= away.amin((1, 2), keepdim=True) + REACH
    for n in mass.argsort(descending=True).tolist():
        labels[middle[n] & away[n].isfinite()] = targets.labels[n]
    return labels


@torch.no_grad()
def middles(targets: Sequence[QueryTargets], valid: Tensor) -> Tensor:
    """The cell at stride 8 nearest to the centre of mass of each object, within it: bool "B H/8 W/8" for `valid` "B H W"; images without targets are last."""
    size = (valid.shape[1] // PICKED_STRIDE, valid.shape[2] // PICKED_STRIDE)
    found = torch.zeros(len(valid), *size, dtype=torch.bool, device=valid.device)
    for cells, one in zip(found, targets, strict=False):
        if len(one.labels):
            cells.flatten()[_away(one, size)[0].flatten(1).argmin(1)] = True
    return found


def _away(targets: QueryTargets, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How far each cell is from an object's centre of mass, infinite outside it, "N h w"; and its mass "N"."""
    area = F.adaptive_avg_pool2d(targets.masks[None].float(), size_hw)[0]
    inside = area >= area.amax((1, 2), keepdim=True).clamp(max=0.5)
    axes = (torch.arange(side, device=area.device, dtype=area.dtype) for side in size_hw)
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    mass = area.sum((1, 2)).clamp(min=1e-6)
    cy, cx = ((area * axis).sum((1, 2)) / mass for axis in (ys, xs))
    away = ((ys - cy[:, None, None]) ** 2 + (xs - cx[:, None, None]) ** 2).sqrt()
    return away.masked_fill(~inside, torch.inf), mass

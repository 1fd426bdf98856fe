"""What stands out of the surface around its box (ours): the disparity of a plane is affine in image coordinates, so ground or wall can be
carried on from the ring around a box into the box, and what is nearer than that is the object."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.ops.masks import ellipse_distance

__all__ = ["Relief", "affine_background", "relief_masks", "relief_of"]

RING = 0.25
"""Width of the ring around a box, as a share of the box's longer side."""
MARGIN, NOISE_FLOOR = 0.003, 0.002
"""Disparity (0..1): what an object stands out at least; what no ring is taken to be smoother than."""
FILL = (0.25, 0.95)
"""A relief that fills less or more of its box says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What disparity says about each box's cells."""

    signs: Tensor
    """Float "N h w" in -3..3: above 0 the cell stands out, 0 where nothing is known; without a meaning outside the box."""
    trust: Tensor
    """Float "N" in 0..1."""
    stands_out: Tensor
    """Bool "N h w", in the boxes alone."""
    known: Tensor
    """Bool "N": there is a background to stand out of."""


def relief_masks(
    disparity: Tensor, boxes_xyxy: Tensor, inside: Tensor, *, stride: int, share: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Soft masks "N h w" of one image's objects from their boxes and its disparity, and how far each is to be trusted: "N" in 0..1.

    With rho the distance from the centre (1 on the inscribed ellipse), signs and trust of `relief_of`:

        mask = sigmoid(2 (1 - rho) + trust * signs) in the box, 0 elsewhere.
    """
    if not len(boxes_xyxy):
        return disparity.new_zeros(inside.shape), disparity.new_zeros(0)
    found = relief_of(disparity, boxes_xyxy, inside, stride=stride, share=share)
    prior = 2 * (1 - ellipse_distance(boxes_xyxy, inside.shape[-2:], stride))
    return (prior + found.trust[:, None, None] * found.signs).sigmoid() * inside, found.trust


def relief_of(disparity: Tensor, boxes_xyxy: Tensor, inside: Tensor, *, stride: int, share: float = 0.0) -> Relief:
    """The relief of one image's objects, of which there is at least one.

    disparity "h w" in 0..1, NaN where unknown; boxes_xyxy "N 4" in pixels; inside bool "N h w", the boxes on the map, whose cells are `stride` pixels.
    With r the disparity above the background (`affine_background`), s its noise, and h what a cell stands out at least, MARGIN and `share` of the
    largest r of its object among the cell and its 8 neighbours:

        signs = clip((r - h) / (s + NOISE_FLOOR), -3, 3).

    A blurred step of disparity is a slope that begins outside the object: a `share` of 0.2 cuts its foot off.
    Where boxes overlap, a cell belongs to the object whose own disparity (the median of what stands out in its box alone) is nearer to the cell's.
    trust = clip(2 c - 1, 0, 1)^2, c the smaller share of rows and of columns that the relief reaches (a box is tight: an object reaches all), and 0
    where the relief fills too little or too much of its box.
    """
    flat, box = disparity.flatten(), inside.flatten(1)
    ring = _rings(inside, boxes_xyxy, stride).flatten(1) & flat.isfinite()
    background, noise = affine_background(disparity, ring)
    above = torch.where(box & flat.isfinite(), flat - background, -torch.inf)
    foreign = _foreign(flat, box, above > torch.maximum(2 * noise, noise.new_tensor(MARGIN))[:, None])
    above = above - MARGIN - share * _crest(above.masked_fill(foreign, -torch.inf).view_as(inside)).flatten(1)
    stands_out = ((above > 0) & ~foreign).view_as(inside)
    known = ring.sum(1) > 3
    signs = (above / (noise + NOISE_FLOOR)[:, None]).clamp(-3, 3)
    signs = torch.where(foreign, -3.0, torch.where(flat.isfinite(), signs, 0.0)).view_as(inside)
    return Relief(signs=signs, trust=_trust(stands_out, inside) * known, stands_out=stands_out, known=known)


def affine_background(disparity: Tensor, ring: Tensor, *, rounds: int = 6) -> tuple[Tensor, Tensor]:
    """The plane through each ring's disparity, over the whole map "N P", and the ring's noise "N" (1.25 times the weighted mean distance).

    disparity "h w", P = h w; ring bool "N P", on known disparity. Least squares, reweighted so that what lies on the ring (another object) does not bend it.
    """
    height, width = disparity.shape
    ys, xs = (torch.linspace(-1, 1, n, device=disparity.device, dtype=torch.float64) for n in (height, width))
    axes = torch.stack(torch.broadcast_tensors(xs, ys[:, None], ys.new_ones(())), -1).view(-1, 3)
    values = disparity.flatten().nan_to_num().double()
    products = (axes[:, :, None] * axes[:, None]).flatten(1)
    weight, ridge = ring.double(), 1e-6 * torch.eye(3, device=axes.device, dtype=torch.float64)
    for _ in range(rounds):
        normal = (weight @ products).view(-1, 3, 3) + ridge
        planes = torch.linalg.solve(normal, weight @ (axes * values[:, None])) @ axes.T
        error = (planes - values).abs()
        noise = 1.2533 * (weight * error).sum(1) / weight.sum(1).clamp(min=1e-9) + 1e-4
        weight = ring * (1.5 * noise[:, None] / error.clamp(min=1e-9)).clamp(max=1).square()
    return planes.to(disparity.dtype), noise.to(disparity.dtype)


def _rings(inside: Tensor, boxes_xyxy: Tensor, stride: int) -> Tensor:
    """Around each box, outside all of them; with other boxes where that leaves less than a fifth."""
    longer = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).amax(1)
    reach = (RING * longer / stride).clamp(min=1.5).round().long()
    rows, columns = inside.any(2), inside.any(1)
    around = _grown(rows, reach)[:, :, None] & _grown(columns, reach)[:, None] & ~inside
    free = around & ~inside.any(0)
    enough = free.sum((1, 2)) >= 0.2 * around.sum((1, 2))
    return torch.where(enough[:, None, None], free, around)


def _grown(line: Tensor, reach: Tensor) -> Tensor:
    """Each row of "N n" (one run of ones), longer by `reach` "N" at both ends."""
    index = torch.arange(line.shape[1], device=line.device)
    first = torch.where(line, index, line.shape[1]).amin(1) - reach
    last = torch.where(line, index, -1).amax(1) + reach
    return (index >= first[:, None]) & (index <= last[:, None]) & line.any(1, keepdim=True)


def _foreign(flat: Tensor, box: Tensor, out: Tensor) -> Tensor:
    """Cells of a box that another box's object explains better, "N P"."""
    alone = out & (box.sum(0) == 1)
    sample = torch.where((alone.sum(1) > 4)[:, None], alone, out)
    own = torch.where(sample, flat, torch.nan).nanmedian(1).values
    distance = torch.where(box, (flat - own[:, None]).abs(), torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
    if len(box) < 2:
        return torch.zeros_like(box)
    (nearest, second), who = distance.topk(2, dim=0, largest=False)
    mine = who[0] == torch.arange(len(box), device=box.device)[:, None]
    return box & (torch.where(mine, second, nearest) < distance) & own.isfinite()[:, None]


def _crest(above: Tensor) -> Tensor:
    """The largest of "N h w" among each cell and its neighbours, at least 0."""
    return F.max_pool2d(above[:, None], 3, stride=1, padding=1)[:, 0].clamp(min=0)


def _trust(stands_out: Tensor, inside: Tensor) -> Tensor:
    """ "N" in 0..1: whether what stands out reaches all four sides of its box, and neither fills it nor hardly any of it."""
    # One row or column is forgiven: a rounded object hardly enters the outermost cells.
    rows, columns = ((stands_out.any(axis).sum(1) + 1) / inside.any(axis).sum(1).clamp(min=1) for axis in (2, 1))
    fill = stands_out.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    tight = (2 * torch.minimum(rows, columns) - 1).clamp(0, 1).square()
    return tight * ((fill > FILL[0]) & (fill < FILL[1]))

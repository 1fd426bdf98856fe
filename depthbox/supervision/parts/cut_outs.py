"""A second opinion on the class of a pseudo mask from the object alone (ours): cut out, enlarged, and looked at by the network as it was before training."""

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.dist import sum_over_ranks
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.backbone import Backbone
from depthbox.ops.discriminant import discriminant
from depthbox.supervision.parts.category import Shown

__all__ = ["CutOuts", "cut_out"]

SIDE, MARGIN = 64, 0.1
"""Pixels of a cut-out; what is left around the object, as a share of its longer side."""
LEVEL, CELLS, WIDEST = 2, 2, 1024
"""Which map of the backbone is described (stride 16), in how many cells a side where that makes at most WIDEST numbers: a discriminant is solved each step."""
EDGES = (0.2, 0.5, 0.8)
"""Where the mask of a labelled object is cut, in turn: masks of a teacher are a little too large or too small as well."""
EXAMPLES = 10
"""As many objects of a class must have been seen on the average before it says anything."""
FLATTEST = 5e-4
"""Disparity (0..1): what no object is taken to deviate less than; half precision has steps of that."""
FINEST = 4
"""Points a pixel of a cut-out along each axis at most, where an object is larger than it."""
TEMPERATURE = 4.0
"""Of a few hundred examples a discriminant is far too sure."""


class CutOuts(nn.Module):
    """A `CategoryPrior` for pretrained backbones: what it knows of textures and shapes is worth more than what the teacher has learnt from a few images.

    An object is shown as a photo (grey outside its mask) and, with `depth`, as a relief: its disparity, standardised within the mask, 0 outside. Each is
    described by the stride-16 map in 2 x 2 cells (in one where it has many channels), and named by a linear discriminant of the labelled objects with a shrunken common covariance
    (`ops/discriminant.py`); the mean of both's logits over TEMPERATURE, softmax. Sums are taken over ranks, so every rank knows the same.
    """

    of_kept = of_features = False
    calls: Tensor
    number: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, backbone: Backbone, classes: int, *, depth: bool) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).eval().requires_grad_(False)
        channels = backbone.channels[LEVEL]
        self.cells = CELLS if CELLS**2 * channels <= WIDEST else 1
        self.looks, self.size = 1 + depth, self.cells**2 * channels
        self.width = self.looks * self.size
        self.solved: tuple[int, list[tuple[Tensor, Tensor]]] = (-1, [])
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("number", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(self.looks, classes, self.size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(self.looks, self.size, self.size, dtype=torch.float64))

    @torch.no_grad()
    def described(self, shown: Shown, *, labelled: bool = False) -> Tensor:
        if not len(shown.masks):
            return shown.image.new_zeros(0, self.width)
        edge = 0.5
        if labelled:
            shown, edge = replace(shown, masks=_coarse(shown.masks)), EDGES[int(self.calls) % len(EDGES)]
        photos, reliefs = cut_out(shown, edge=edge)
        seen = self.backbone(torch.cat((photos, reliefs)) if self.looks == 2 else photos)[LEVEL]
        rows = F.adaptive_avg_pool2d(seen.float(), self.cells).flatten(1)
        return torch.cat(rows.chunk(self.looks), 1)

    @torch.no_grad()
    def probabilities(self, rows: Tensor) -> Tensor:
        known = self.number > 0
        known &= self.number.sum() >= EXAMPLES * known.sum()
        looks = zip(rows.double().chunk(self.looks, 1), self._discriminants(), strict=True)
        logits = torch.stack([look @ weights + offsets for look, (weights, offsets) in looks]).mean(0) / TEMPERATURE
        said = logits.masked_fill(~known, -torch.inf).softmax(1)
        return said.to(rows.dtype).masked_fill(~known, torch.nan)

    def _discriminants(self) -> list[tuple[Tensor, Tensor]]:
        """Of each look; they change once a step, and are asked for once an image."""
        if self.solved[0] != int(self.calls):
            found = [discriminant(self.number, s, q) for s, q in zip(self.sums, self.squares, strict=True)]
            self.solved = (int(self.calls), found)
        return self.solved[1]

    @torch.no_grad()
    def learn(self, rows: Tensor, labels: Tensor) -> None:
        self.calls += 1
        one_hot = F.one_hot(labels, len(self.number)).double()
        values = rows.double().view(len(rows), self.looks, self.size).transpose(0, 1)
        self.number += sum_over_ranks(one_hot.sum(0))
        self.sums += sum_over_ranks(one_hot.T @ values)
        self.squares += sum_over_ranks(values.transpose(1, 2) @ values)


def cut_out(shown: Shown, *, edge: float) -> tuple[Tensor, Tensor]:
    """Photos and reliefs "N 3 SIDE SIDE" of the objects of an image; `edge` is the value of the enlarged mask at which an object ends.

    Where no disparity is known a relief is the silhouette.
    """
    size_hw = (shown.image.shape[-2], shown.image.shape[-1])
    disparity = shown.image.new_full((1, *size_hw), torch.nan) if shown.disparity is None else shown.disparity
    grid = _grid(shown.masks > 0.5, size_hw)
    masks = F.grid_sample(shown.masks[:, None].float(), grid, align_corners=False)
    # The object's own cells when a thin one is cut away.
    inside = masks > torch.minimum(masks.amax((1, 2, 3), keepdim=True) * 0.99, masks.new_tensor(edge))
    known = disparity.isfinite()
    planes = torch.cat((shown.image, disparity.nan_to_num(), known.to(shown.image.dtype)))
    said = _averaged(planes, grid)
    photo = torch.where(inside, said[:, :3], 0.5)
    return photo, _standardised(said[:, 3:4], inside & (said[:, 4:] > 0.99), inside).expand(-1, 3, -1, -1)


def _coarse(masks: Tensor) -> Tensor:
    """Masks at full size as a teacher would say them: cells of stride 4."""
    shares = F.avg_pool2d(masks[:, None], MASK_STRIDE)[:, 0]
    return (shares >= shares.amax((1, 2), keepdim=True).clamp(max=0.5)).to(masks.dtype)


def _grid(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Where the pixels of each cut-out lie, for `grid_sample`: "N SIDE SIDE 2"."""
    steps = (torch.arange(SIDE, device=masks.device) + 0.5) / SIDE - 0.5
    middles, lengths = [], []
    for held, pixels in ((masks.any(1), size_hw[1]), (masks.any(2), size_hw[0])):
        cells = held.shape[1]
        first, last = held.int().argmax(1), cells - held.flip(1).int().argmax(1)
        middles.append((first + last) / 2 / cells)
        lengths.append((last - first) / cells * pixels)
    side = (1 + 2 * MARGIN) * torch.maximum(*lengths)[:, None]
    x, y = (2 * (m[:, None] + side / n * steps) - 1 for m, n in zip(middles, size_hw[::-1], strict=True))
    return torch.stack((x[:, None, :].expand(-1, SIDE, -1), y[:, :, None].expand(-1, -1, SIDE)), -1)


def _averaged(planes: Tensor, grid: Tensor) -> Tensor:
    """The planes "C H W" of a photo at `grid`, as the mean over several points a pixel where an object is larger than its cut-out: "N C SIDE SIDE"."""
    size = grid.new_tensor(planes.shape[-2:][::-1]) / 2
    step = (grid[:, 1:, 1:] - grid[:, :-1, :-1])[:, 0, 0]
    points = int((step * size).amax().clamp(1, FINEST))
    shifts = (torch.arange(points, device=grid.device) + 0.5) / points - 0.5
    total = planes.new_zeros(len(grid), len(planes), SIDE, SIDE)
    for y, x in torch.cartesian_prod(shifts, shifts):
        moved = grid + (step * torch.stack((x, y)))[:, None, None]
        total += F.grid_sample(planes[None].expand(len(grid), -1, -1, -1), moved, align_corners=False)
    return total / points**2


def _standardised(disparity: Tensor, counted: Tensor, inside: Tensor) -> Tensor:
    """0.5 is the object's mean, a sixth a standard deviation; 0.5 where nothing is known, 0 outside."""
    n = counted.sum((1, 2, 3), keepdim=True).clamp(min=1)
    from_mean = disparity - (disparity * counted).sum((1, 2, 3), keepdim=True) / n
    spread = ((from_mean.square() * counted).sum((1, 2, 3), keepdim=True) / n).sqrt()
    return ((from_mean / (spread + FLATTEST)).clamp(-3, 3) / 6 * counted + 0.5) * inside

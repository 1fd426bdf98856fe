"""Neighbours that belong together should get the same mask label (BoxInst, and the depth terms of arXiv 2403.01214).

Every unordered pair of a 3x3 window is visited once, by four offsets and slices: no copy of a map per neighbour, and nothing outside
the image costs anything. A pair is two directed edges, i -> j and j -> i, as in the published sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from depthbox.ops.masks import widened

__all__ = [
    "OFFSETS",
    "Edges",
    "active_share",
    "active_share_at",
    "agreement",
    "first_difference",
    "pair",
    "pairwise_nll",
    "second_difference",
    "weighted_sums",
]

OFFSETS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""The half of the 8-neighbourhood that, with its mirror image, makes the whole; (dy, dx), to be multiplied by the dilation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Which neighbours should agree, for one image source (colour, depth)."""

    forward: Tensor
    """Bool "B 4 H W", at i: the directed edge from i to i + offset is active; positions whose partner is outside are ignored."""
    backward: Tensor
    """The same for the edge from i + offset to i, also stored at i; the same tensor where the similarity is symmetric."""
    valid: Tensor
    """Bool "B H W": pixels that may be a partner."""
    inside_only: bool
    """True: an edge counts where its first pixel lies in the instance's box. False: over the whole valid image."""


def pair(values: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two aligned crops of "... H W": values at i and at i + offset, for every i whose partner is inside."""
    (dy, dx), (height, width) = offset, values.shape[-2:]
    rows_i, rows_j = slice(0, height - dy), slice(dy, height)
    cols_i, cols_j = (slice(0, width - dx), slice(dx, width)) if dx >= 0 else (slice(-dx, width), slice(0, width + dx))
    return values[..., rows_i, cols_i], values[..., rows_j, cols_j]


def pairwise_nll(a: Tensor, b: Tensor) -> Tensor:
    """-log(p q + (1 - p)(1 - q)) with p = sigmoid(a), q = sigmoid(b) (BoxInst, eq. 5). Finite for logits of any size; at least 0 up to rounding.

    That is softplus(a) + softplus(b) - softplus(a + b). With softplus(x) = (x + |x|)/2 + t(x), t(x) = log(1 + exp(-|x|)), the large parts cancel exactly:
    min(|a|, |b|) where the signs differ, else 0, plus t(a) + t(b) - t(a + b).
    """
    return _PairwiseNll.apply(a, b)


class _PairwiseNll(torch.autograd.Function):
    """By hand, because nothing but the two (views of) maps is kept for the way back: d/da = sigmoid(a) - sigmoid(a + b)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        # The sum of the two first: it is the same bits when a and b change places.
        cost = F.softplus(a.abs().neg_()).add_(F.softplus(b.abs().neg_())).sub_(F.softplus((a + b).abs_().neg_()))
        return cost.add_(torch.minimum(torch.maximum(a, b), torch.minimum(a, b).neg_()).clamp_(min=0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        both = (a + b).sigmoid_()
        return (a.sigmoid().sub_(both)).mul_(gradient), (b.sigmoid().sub_(both)).mul_(gradient)


def first_difference(values: Tensor, *, dilation: int) -> Tensor:
    """L2 distance over channels of "B C H W" to each of the four neighbours: "B 4 H W", infinite where the neighbour is outside."""
    return _at_pixels(values, dilation, lambda i, j: torch.linalg.vector_norm(i - j, dim=1))


def second_difference(values: Tensor, *, dilation: int) -> Tensor:
    """|d(i+o) - 2 d(i) + d(i-o)| of "B 1 H W" as "B 4 H W"; infinite where either neighbour is outside or one is NaN.

    The disparity of a plane is affine in image coordinates, so this vanishes on ground and walls however steep (METHODS 1, "plane-aware").
    """
    steps = _at_pixels(values, dilation, lambda i, j: (j - i).squeeze(1))
    bends = torch.full_like(steps, torch.inf)
    for o, (dy, dx) in enumerate(OFFSETS):
        before, after = pair(steps[:, o], (dy * dilation, dx * dilation))
        pair(bends[:, o], (dy * dilation, dx * dilation))[1].copy_(
            (after - before).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
        )
    return bends


def agreement(logits: Tensor, offset: tuple[int, int]) -> Tensor:
    """`pairwise_nll` of "N H W" with the neighbour at `offset`, on the pixels that have one."""
    return pairwise_nll(*pair(logits, offset))


def weighted_sums(
    logits: Tensor, image_index: Tensor, inside: Tensor, sources: Sequence[Edges], *, dilation: int = 2
) -> list[tuple[Tensor, Tensor]]:
    """For each source the sum of `pairwise_nll` over its active directed edges, and their number.

    logits "N H W", image_index int64 "N" (which image an instance is in), inside bool "N H W" (its box). Edge i -> j is active where the pair
    is similar, j is valid and i lies in the box (or, for the whole image, i is valid). Sums are float32 at least.
    """
    logits = widened(logits)
    sums = [logits.new_zeros(()) for _ in sources]
    counts = [logits.new_zeros(()) for _ in sources]
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (dy * dilation, dx * dilation)
        cost = agreement(logits, offset)
        for s, edges in enumerate(sources):
            weight = _directed(edges, o, offset, image_index, inside).to(cost.dtype)
            sums[s] = sums[s] + (weight * cost).sum()
            counts[s] = counts[s] + weight.sum()
    return list(zip(sums, counts, strict=True))


def active_share(edges: Edges, *, dilation: int) -> Tensor:
    """Of the directed edges between two valid pixels of an image, the share that is active; 0 where there is no such pair."""
    active = there = edges.valid.new_zeros((), dtype=torch.int64)
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (dy * dilation, dx * dilation)
        valid_i, valid_j = pair(edges.valid, offset)
        both = valid_i & valid_j
        there = there + 2 * both.sum()
        for directed in (edges.forward, edges.backward):
            active = active + (pair(directed[:, o], offset)[0] & both).sum()
    return active / there.clamp(min=1)


def active_share_at(edges: Edges, *, dilation: int) -> Tensor:
    """Of the pairs that each pixel makes with its neighbours in the image, the share that is active in either direction: float "B H W"."""
    active = torch.zeros(edges.valid.shape, device=edges.valid.device)
    there = torch.zeros_like(active)
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (dy * dilation, dx * dilation)
        valid_i, valid_j = pair(edges.valid, offset)
        both, tied = valid_i & valid_j, pair(edges.forward[:, o] | edges.backward[:, o], offset)[0]
        for count, pairs in ((active, tied & both), (there, both)):
            for end in pair(count, offset):
                end.add_(pairs.float())
    return active / there.clamp(min=1)


def _directed(edges: Edges, o: int, offset: tuple[int, int], image_index: Tensor, inside: Tensor) -> Tensor:
    """How many of the two directed edges of each pair are active: 0, 1 or 2 as uint8."""
    forward, backward = pair(edges.forward[:, o], offset)[0], pair(edges.backward[:, o], offset)[0]
    valid_i, valid_j = pair(edges.valid, offset)
    if not edges.inside_only:
        return ((forward.to(torch.uint8) + backward.to(torch.uint8)) * (valid_i & valid_j))[image_index]
    inside_i, inside_j = pair(inside, offset)
    there, back = (forward & valid_j)[image_index] & inside_i, (backward & valid_i)[image_index] & inside_j
    return there.to(torch.uint8) + back.to(torch.uint8)


def _at_pixels(values: Tensor, dilation: int, function) -> Tensor:
    out = values.new_full((values.shape[0], len(OFFSETS), *values.shape[-2:]), torch.inf)
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (dy * dilation, dx * dilation)
        pair(out[:, o], offset)[0].copy_(function(*pair(values, offset)))
    return out

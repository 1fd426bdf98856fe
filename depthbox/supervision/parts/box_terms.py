"""What boxes and disparity say about masks: the BoxInst terms and the depth terms of arXiv 2403.01214."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.batch import Views
from depthbox.core.dist import global_mean
from depthbox.core.shapes import MASK_STRIDE
from depthbox.ops.color import rgb_to_lab
from depthbox.ops.depth import pool_known
from depthbox.ops.masks import dice_loss, ellipse_masks
from depthbox.ops.pairwise import OFFSETS, Edges, first_difference, pair, second_difference, weighted_sums

__all__ = [
    "affinities",
    "at_masks",
    "box_prior",
    "color_change",
    "color_edges",
    "depth_change",
    "depth_edges",
    "instance_depth",
    "projection",
    "vetoed",
]


DILATION = 2
"""As published."""


def projection(logits: Tensor, boxes: Tensor) -> Tensor:
    """`projection`: dice of the mask's maximum over rows, plus over columns, against the box mask; mean over instances (BoxInst, eq. 3).

    logits "N h w", boxes bool "N h w". Of several largest one is taught (the published code's gradient).
    """
    p, t = logits.sigmoid(), boxes.to(logits.dtype)
    columns, rows = (dice_loss(p.max(axis).values, t.amax(axis)) for axis in (1, 2))
    return global_mean((columns + rows).sum(), float(len(logits)))


def box_prior(logits: Tensor, positives_xyxy: Tensor, size_hw: tuple[int, int], *, size: float = 1.0) -> Tensor:
    """`box_prior`: dice of the mask and the ellipse inscribed in its box, its axes times `size`, mean over instances (ours).

    Projection and affinities are content with a thin outline as well as with a filled shape; a short run falls for one or the other by chance. This
    term decides it at the start and then leaves. logits "N h w", boxes float "N 4" in pixels of a view of `size_hw`.
    """
    target = ellipse_masks(positives_xyxy, size_hw, MASK_STRIDE, size=size)
    return global_mean(dice_loss(logits.sigmoid(), target).sum(), float(len(logits)))


def color_edges(views: Views, *, threshold: float, dilation: int = DILATION) -> Edges:
    """Neighbours whose S_c = exp(-||Lab_i - Lab_j|| / 2) reaches `threshold`, on the plain view pooled 4x4 (BoxInst, eq. 4)."""
    similar = torch.exp(-0.5 * color_change(views, dilation=dilation)) >= threshold
    return Edges(forward=similar, backward=similar, valid=at_masks(views.valid), inside_only=True)


def depth_edges(
    views: Views, *, theta: float, threshold: float, form: str, inside_only: bool, dilation: int = DILATION
) -> Edges:
    """Neighbours whose S_d = exp(-|difference| / theta) reaches `threshold`, the disparity on the 0..255 scale, pooled to stride 4.

    `form` "difference" takes |d_i - d_j| (arXiv 2403.01214, depth consistency), "plane" the second difference, which is blind to how steep a plane is.
    Pixels without disparity have no edge, and padding has none, whatever stands there.
    """
    disparity = _disparity_255(views).masked_fill(~at_masks(views.valid)[:, None], torch.nan)
    known = torch.isfinite(disparity[:, 0])
    change = (
        first_difference(disparity, dilation=dilation)
        if form == "difference"
        else second_difference(disparity, dilation=dilation)
    )
    similar = torch.exp(-change.nan_to_num(nan=torch.inf) / theta) >= threshold
    backward = similar if form == "difference" else _at_partner(similar, dilation)
    return Edges(forward=similar, backward=backward, valid=known, inside_only=inside_only)


def color_change(views: Views, *, dilation: int = DILATION) -> Tensor:
    """||Lab_i - Lab_j|| to each of the four neighbours: "B 4 h w"."""
    # The published code truncates the pooled colour to 8 bits before Lab; the golden values hold that.
    pooled = (F.avg_pool2d(views.weak * 255, MASK_STRIDE) + 1e-3).floor() / 255
    return first_difference(rgb_to_lab(pooled), dilation=dilation)


def depth_change(views: Views, *, dilation: int = DILATION) -> Tensor:
    """|d_i - d_j| on the 0..255 scale to each of the four neighbours: "B 4 h w"; 0 where either is unknown."""
    return first_difference(_disparity_255(views), dilation=dilation).nan_to_num(nan=0.0)


def vetoed(edges: Edges, change: Tensor, *, limit: float) -> Edges:
    """The edges across which `change` (symmetric, "B 4 h w") is at most `limit`: one cue takes back what the other believes to be one thing."""
    same = change <= limit
    forward = edges.forward & same
    backward = forward if edges.backward is edges.forward else edges.backward & same
    return replace(edges, forward=forward, backward=backward)


def affinities(
    logits: Tensor, image_index: Tensor, boxes: Tensor, sources: Sequence[Edges], *, dilation: int = DILATION
) -> list[Tensor]:
    """`color_affinity`, `depth_affinity`: the mean of -log(p_i p_j + (1 - p_i)(1 - p_j)) over each source's active edges, 0 where there are none."""
    return [
        global_mean(total, count)
        for total, count in weighted_sums(logits, image_index, boxes, sources, dilation=dilation)
    ]


def instance_depth(depth: Tensor, image_index: Tensor, boxes: Tensor, views: Views) -> Tensor:
    """`instance_depth`: mean over all in-box pixels of all positives of (P_d - d)^2, d the disparity in [0, 1] at stride 4, padding left out.

    depth "N h w" is P_d of the DG-MaskHead, boxes bool "N h w".
    """
    assert views.disparity is not None
    known = views.disparity.masked_fill(~views.valid[:, None], torch.nan)
    disparity = pool_known(known, MASK_STRIDE)[:, 0][image_index]
    counted = boxes & torch.isfinite(disparity)
    error = torch.where(counted, depth - disparity.nan_to_num(), 0.0).square()
    return global_mean(error.sum(), counted.sum())


def _disparity_255(views: Views) -> Tensor:
    """Disparity "B 1 h w" at stride 4 on the scale the published thresholds are meant for; NaN where unknown. Padding is."""
    assert views.disparity is not None
    return pool_known(views.disparity.masked_fill(~views.valid[:, None], torch.nan), MASK_STRIDE) * 255


def at_masks(valid: Tensor) -> Tensor:
    """ "B H W" sampled where the stride-4 masks are: "B h w"."""
    return valid[:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]


def _at_partner(similar: Tensor, dilation: int) -> Tensor:
    """`similar` of the partner pixel i + offset, stored at i."""
    out = torch.zeros_like(similar)
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (dy * dilation, dx * dilation)
        pair(out[:, o], offset)[0].copy_(pair(similar[:, o], offset)[1])
    return out

"""Which detection of the teacher shows which labelled box (arXiv 2403.01214, depth-aware matching; BoxTeacher's greedy form beside it)."""

from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from depthbox.core.shapes import MASK_STRIDE
from depthbox.ops.masks import widened

__all__ = [
    "Matches",
    "depth_agreement",
    "depth_aware_scores",
    "depth_known",
    "match_best",
    "match_greedily",
    "right_similarity",
]

STRONG, WEAK = 0.5, 0.1
_WORSE = 1e-9
Matches = tuple[Tensor, Tensor]
"""Int64 "M" boxes and int64 "M" detections, pairwise."""


def right_similarity(disparity: Tensor, valid: Tensor, *, theta: float) -> Tensor:
    """s = exp(-|d(x) - d(x + 2)| / theta) of the full-size map "B 1 H W" in 0..1, taken on the 0..255 scale, sampled [2::4, 2::4]: "B h w".

    0 where the neighbour is outside the image (`valid` bool "B H W": padding is outside), NaN where either is unknown.
    """
    d = disparity[:, 0] * 255
    similar = torch.zeros_like(d)
    near = torch.exp(-(d[..., :-2] - d[..., 2:]).abs() / theta)
    similar[..., :-2] = torch.where(valid[..., 2:], near, 0.0)
    similar = torch.where(torch.isfinite(d), similar, torch.nan)
    return similar[:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]


def depth_agreement(masks: Tensor, boxes: Tensor, similarity: Tensor, *, form: Literal["A", "B"]) -> Tensor:
    """S_dmatch of every box with every mask: "N M" in 0..1.

    q = box * soft mask at stride 4. Form B (the paper's text) is sum q[s > 0.5] / max(sum q, 1), form A (the later code) adds sum q[s < 0.1] above the
    line: a mask may also hold clear depth edges, only not the doubtful middle. Pixels without disparity do not count.
    masks "M h w" in 0..1, boxes bool "N h w", similarity "h w" (`right_similarity`).
    """
    counted = (similarity > STRONG) | (similarity < WEAK) if form == "A" else similarity > STRONG
    known = torch.isfinite(similarity)
    soft = widened(masks).flatten(1)
    inside = boxes.flatten(1).to(soft.dtype)
    above = (inside * counted.flatten().to(soft.dtype)) @ soft.T
    below = (inside * known.flatten().to(soft.dtype)) @ soft.T
    return above / below.clamp(min=1)


def depth_known(boxes: Tensor, similarity: Tensor) -> Tensor:
    """Bool "N": the boxes (bool "N h w") in which anything is known of the similarity "h w"."""
    return (boxes & torch.isfinite(similarity)).flatten(1).any(1)


def depth_aware_scores(
    boxes_xyxy: Tensor, detected_xyxy: Tensor, scores: Tensor, agreement: Tensor, *, box: float, depth: float | Tensor
) -> Tensor:
    """S = box * gIoU + depth * S_dmatch + (1 - box - depth) * detection score: "N M" (METHODS 1; the paper's text has IoU).

    `scores`: of each detection, "M", or for each box, "N M". `depth`: one weight, or one a box, "N 1": 0 where disparity is not known.
    """
    return box * generalized_box_iou(boxes_xyxy, detected_xyxy) + depth * agreement + (1 - box - depth) * scores


def match_best(scores: Tensor, *, above: float) -> Matches:
    """The one-to-one matching of boxes (rows) and detections (columns) with the largest total score; pairs at or below `above` are let go.

    Fewer detections than boxes leave boxes without one; classes are not looked at. A pair whose score is not finite (two boxes without area, a mask
    of NaN) is never matched.
    """
    finite = torch.isfinite(scores)
    # A little worse than the worst real pair, so that a real one wins; something lower would drive good pairs apart to avoid it.
    worst = scores[finite].min().double() - _WORSE if finite.any() else 0.0
    filled = torch.where(finite, scores.double(), worst)
    rows, columns = linear_sum_assignment(filled.detach().cpu().numpy(), maximize=True)
    rows, columns = torch.as_tensor(rows, device=scores.device), torch.as_tensor(columns, device=scores.device)
    kept = (finite & (scores > above))[rows, columns]
    return rows[kept], columns[kept]


def match_greedily(boxes_xyxy: Tensor, detected_xyxy: Tensor, confidence: Tensor, *, iou: float = 0.5) -> Matches:
    """BoxTeacher: the most confident detection first, each takes the free box it overlaps most, if by `iou` or more.

    An overlap or a confidence that is not finite is no match.
    """
    overlap = box_iou(boxes_xyxy, detected_xyxy)
    overlap = torch.where(torch.isfinite(overlap) & torch.isfinite(confidence), overlap, -1.0)
    taken: list[tuple[int, int]] = []
    free = torch.ones(len(boxes_xyxy), dtype=torch.bool, device=overlap.device)
    for column in confidence.argsort(descending=True, stable=True).tolist():
        candidates = torch.where(free, overlap[:, column], -1.0)
        if not len(candidates) or candidates.max() < iou:
            continue
        row = int(candidates.argmax())
        free[row] = False
        taken.append((row, column))
    pairs = torch.tensor(taken, dtype=torch.int64, device=overlap.device).view(-1, 2)
    return pairs[:, 0], pairs[:, 1]

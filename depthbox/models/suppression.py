"""Non-maximum suppression without a loop over objects: what can be traced for an export."""

import torch
from torch import Tensor

__all__ = ["box_overlap", "mask_overlap", "not_suppressed"]

ROUNDS = 24
"""Candidates whose chain of suppressors is no longer than this are judged as one after the other."""


def not_suppressed(overlap: Tensor, labels: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Bool "B N" of candidates sorted by score, with their IoU "B N N": greedy non-maximum suppression within a class, by rounds.

    A candidate stays where no better one that stays overlaps it. The best one is right from the start, and each round makes the next right that
    depend on right ones only.
    """
    rank = torch.arange(scores.shape[1], device=scores.device)
    better = (rank[None, :] < rank[:, None]) & (labels[:, :, None] == labels[:, None, :])
    over = ((overlap > iou) & better).to(scores.dtype)
    there = scores > 0
    kept = there
    for _ in range(ROUNDS):
        kept = there & (torch.bmm(over, kept.to(scores.dtype)[..., None])[..., 0] == 0)
    return kept


def box_overlap(boxes: Tensor) -> Tensor:
    """IoU of boxes "B N 4" with each other: "B N N"."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return overlap / (area[:, :, None] + area[:, None, :] - overlap).clamp(min=1e-9)


def mask_overlap(masks: Tensor) -> Tensor:
    """IoU of bool masks "B N h w" with each other: "B N N"; 0 where both are empty."""
    cells = masks.flatten(2).float()
    shared = torch.bmm(cells, cells.transpose(1, 2))
    area = cells.sum(2)
    return shared / (area[:, :, None] + area[:, None, :] - shared).clamp(min=1e-6)

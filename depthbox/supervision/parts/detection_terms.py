"""The FCOS losses: every method that has boxes uses them."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from depthbox.core.dist import global_mean
from depthbox.models.detector import DenseOutputs
from depthbox.supervision.parts.assignment import Positives

__all__ = ["centerness", "detection_terms"]


def centerness(points_xy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of points "N 2" in boxes "N 4": 1 in the middle, 0 at the edge (FCOS)."""
    left_top, right_bottom = points_xy - boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - points_xy
    near, far = (
        torch.minimum(left_top, right_bottom).clamp(min=0),
        torch.maximum(left_top, right_bottom).clamp(min=1e-6),
    )
    return (near / far).prod(1).sqrt()


def detection_terms(
    dense: DenseOutputs,
    positives: Positives,
    *,
    quality: str,
    background: float = 1.0,
    class_weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """`class_focal`, `box_giou` and `box_quality`, each over the number of positives of the global batch.

    The quality target is the centerness, or the IoU of the predicted with the true box (`quality="iou"`).
    `background` is what the locations of no object weigh in `class_focal`, `class_weights` "N" what the positives do (None: 1).
    """
    where = (positives.image_index, positives.point_index)
    count = float(len(positives.labels))
    targets = torch.zeros_like(dense.class_logits)
    targets[where] = one_hot(positives.labels, targets.shape[-1]).to(targets.dtype)
    focal = sigmoid_focal_loss(dense.class_logits, targets, alpha=0.25, gamma=2.0)
    counted = torch.full_like(dense.quality_logits, background).index_put(
        where, focal.new_ones(()) if class_weights is None else class_weights
    )
    focal = (focal * counted[..., None]).sum()
    boxes = dense.boxes_xyxy[where]
    giou = generalized_box_iou_loss(boxes, positives.boxes_xyxy, reduction="none")
    wanted = (
        centerness(dense.points_xy[positives.point_index], positives.boxes_xyxy)
        if quality == "centerness"
        else _paired_iou(boxes.detach(), positives.boxes_xyxy)
    )
    agreement = binary_cross_entropy_with_logits(dense.quality_logits[where], wanted, reduction="sum")
    return {
        "class_focal": global_mean(focal, count),
        "box_giou": global_mean(giou.sum(), count),
        "box_quality": global_mean(agreement, count),
    }


def _paired_iou(a: Tensor, b: Tensor) -> Tensor:
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    return shared / (areas - shared).clamp(min=1e-6)

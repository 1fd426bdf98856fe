"""Detections from a forward pass: scores, non-maximum suppression, masks. Depth is never an input."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from depthbox.models.config import InferenceConfig
from depthbox.models.segmenter import Features, Segmenter
from depthbox.ops.masks import aligned_bilinear

__all__ = ["ImagePredictions", "paste", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePredictions:
    """What one image holds, best first; masks are probabilities "N h w" at stride 4 of the network input, boxes its pixels."""

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor


@torch.no_grad()
def predict(model: Segmenter, images: Tensor, *, config: InferenceConfig | None = None) -> list[ImagePredictions]:
    """Detections of each image of "B 3 H W"."""
    config = config or InferenceConfig()
    features = model(images)
    return [_one(model, features, i, tuple(images.shape[-2:]), config) for i in range(len(images))]


def _one(
    model: Segmenter, features: Features, image: int, size_hw: tuple[int, ...], config: InferenceConfig
) -> ImagePredictions:
    dense = features.dense
    scores = (dense.class_logits[image].sigmoid() * dense.quality_logits[image].sigmoid()[:, None]).sqrt()
    likely = (dense.class_logits[image].sigmoid() > config.score_threshold) & (scores > config.min_score)
    points, labels = likely.nonzero(as_tuple=True)
    picked = scores[points, labels]
    best = picked.topk(min(config.before_nms, len(picked))).indices
    points, labels, picked = points[best], labels[best], picked[best]
    boxes = clip_boxes_to_image(dense.boxes_xyxy[image][points], (size_hw[0], size_hw[1]))
    kept = batched_nms(boxes, picked, labels, config.nms_iou)[: config.top]
    logits = (
        model.masks(features, torch.full_like(kept, image), points[kept]).logits
        if len(kept)
        else features.mask_features.new_zeros((0, 1, 1))
    )
    return ImagePredictions(boxes_xyxy=boxes[kept], scores=picked[kept], labels=labels[kept], masks=logits.sigmoid())


def paste(masks: Tensor, size_hw: tuple[int, int], stride: int = 4) -> Tensor:
    """Probabilities "N h w" at stride 4 as "N H W": bilinear, cell (0, 0) on pixel (stride // 2, stride // 2),
    where training samples its targets: half a pixel beside it costs small objects 0.05 of IoU.
    """
    if not len(masks):
        return masks.new_zeros((0, *size_hw))
    return aligned_bilinear(masks[:, None], stride)[:, 0, : size_hw[0], : size_hw[1]]

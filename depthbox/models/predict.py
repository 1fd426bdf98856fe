"""Detections from a forward pass: scores, non-maximum suppression, masks. Depth is never an input."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from depthbox.models.config import InferenceConfig
from depthbox.models.detector import DenseOutputs
from depthbox.models.predictions import ImagePredictions
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.query_predict import query_predictions
from depthbox.models.segmenter import Features, Model, Segmenter
from depthbox.ops.masks import aligned_bilinear

__all__ = ["ImagePredictions", "detected", "masks_at", "paste", "predict"]


@torch.no_grad()
def predict(
    model: Model, images: Tensor, *, config: InferenceConfig | None = None, valid: Tensor | None = None
) -> list[ImagePredictions]:
    """Detections of each image of "B 3 H W"; `valid` (bool "B H W", False on padding) is what the query head may look at, and where its masks lie."""
    config = config or InferenceConfig()
    if isinstance(model, QuerySegmenter):
        outputs = model(images, valid) if valid is None else model(images, valid).within(valid)
        return query_predictions(outputs, (images.shape[-2], images.shape[-1]), config)
    features = model(images)
    return [_one(model, features, i, tuple(images.shape[-2:]), config) for i in range(len(images))]


def _one(
    model: Segmenter, features: Features, image: int, size_hw: tuple[int, ...], config: InferenceConfig
) -> ImagePredictions:
    points, labels, scores, boxes = detected(features.dense, image, (size_hw[0], size_hw[1]), config)
    masks = masks_at(model, features, image, points).sigmoid()
    return ImagePredictions(boxes_xyxy=boxes, scores=scores, labels=labels, masks=masks)


def detected(
    dense: DenseOutputs, image: int, size_hw: tuple[int, int], config: InferenceConfig, *, by_class: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Locations, labels, scores and boxes of an image's detections, best first; of boxes that overlap (of a class, or whatever theirs) the best alone."""
    scores = (dense.class_logits[image].sigmoid() * dense.quality_logits[image].sigmoid()[:, None]).sqrt()
    likely = (dense.class_logits[image].sigmoid() > config.score_threshold) & (scores > config.min_score)
    points, labels = likely.nonzero(as_tuple=True)
    picked = scores[points, labels]
    best = picked.topk(min(config.before_nms, len(picked))).indices
    points, labels, picked = points[best], labels[best], picked[best]
    boxes = clip_boxes_to_image(dense.boxes_xyxy[image][points], size_hw)
    groups = labels if by_class else torch.zeros_like(labels)
    kept = batched_nms(boxes, picked, groups, config.nms_iou)[: config.top]
    return points[kept], labels[kept], picked[kept], boxes[kept]


def masks_at(model: Segmenter, features: Features, image: int, points: Tensor) -> Tensor:
    """Mask logits "N h w" of the instances at these locations of an image."""
    if not len(points):
        return features.mask_features.new_zeros((0, 1, 1))
    return model.masks(features, torch.full_like(points, image), points).logits


def paste(masks: Tensor, size_hw: tuple[int, int], stride: int = 4) -> Tensor:
    """Probabilities "N h w" at stride 4 as "N H W": bilinear, cell (0, 0) on pixel (stride // 2, stride // 2),
    where training samples its targets: half a pixel beside it costs small objects 0.05 of IoU.
    """
    if not len(masks):
        return masks.new_zeros((0, *size_hw))
    return aligned_bilinear(masks[:, None], stride)[:, 0, : size_hw[0], : size_hw[1]]

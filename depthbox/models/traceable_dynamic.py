"""FCOS with dynamic masks as one graph (`models/traceable.py`): fixed numbers of candidates, suppression by rounds, all masks at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.config import InferenceConfig
from depthbox.models.detector import DenseOutputs, locations
from depthbox.models.dynamic_head import SIZES_OF_INTEREST, batched_mask_head
from depthbox.models.segmenter import Segmenter
from depthbox.models.suppression import box_overlap, not_suppressed
from depthbox.ops.masks import aligned_bilinear

__all__ = ["DynamicGraph"]


class DynamicGraph(nn.Module):
    """T is `config.top`."""

    def __init__(self, model: Segmenter, config: InferenceConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = self.model.backbone(images)
        levels = self.model.pyramid(maps[1:])
        dense = self.model.detector(levels)
        points, labels, scores, boxes = self._detections(dense, images.shape[-2:])
        masks = self._masks(dense, self.model.mask_branch(levels, maps[0]), points)
        return boxes, scores, labels, masks * (scores > 0)[:, :, None, None]

    def _detections(self, dense: DenseOutputs, size_hw: torch.Size) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        config, classes = self.config, self.model.classes
        likely = dense.class_logits.sigmoid()
        scores = (likely * dense.quality_logits.sigmoid()[..., None]).sqrt()
        scores = torch.where((likely > config.score_threshold) & (scores > config.min_score), scores, 0.0).flatten(1)
        # A small image has fewer locations than candidates are wanted: score 0 fills up.
        padded = F.pad(scores, (0, config.before_nms))
        best, index = padded.topk(config.before_nms)
        index = torch.where(best > 0, index, 0)
        points, labels = index // classes, index % classes
        boxes = dense.boxes_xyxy.gather(1, points[..., None].expand(-1, -1, 4))
        height, width = size_hw
        x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
        boxes = torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)
        kept = torch.where(not_suppressed(box_overlap(boxes), labels, best, config.nms_iou), best, 0.0)
        final, order = kept.topk(min(config.top, config.before_nms))
        return (
            points.gather(1, order),
            labels.gather(1, order),
            final,
            boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        )

    def _masks(self, dense: DenseOutputs, features: Tensor, points: Tensor) -> Tensor:
        batch, count = points.shape
        images = torch.arange(batch, device=points.device)[:, None].expand(batch, count).reshape(-1)
        parameters = self.model.controller(dense.tower, images, points.reshape(-1)).reshape(batch, count, -1)
        sizes = torch.tensor(SIZES_OF_INTEREST, device=points.device)[dense.level[points]]
        places = torch.cat((dense.points_xy[points], sizes[..., None]), -1)
        stride = self.model.config.mask_feature_stride
        pixels = locations(features.shape[-2], features.shape[-1], stride, device=points.device)
        logits = batched_mask_head(self.model.config.mask_head, features.float(), parameters, places, pixels)
        return aligned_bilinear(logits, stride // MASK_STRIDE).sigmoid()

"""Queries as one graph (`models/traceable.py`): every pair of query and class keeps its place, those that do not count have score 0."""

import torch
from torch import Tensor, nn

from depthbox.models.config import InferenceConfig
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.query_predict import mask_quality, on_mask_cells, pixel_boxes
from depthbox.models.suppression import mask_overlap, not_suppressed

__all__ = ["QueryGraph", "not_padding"]


class QueryGraph(nn.Module):
    """T is `config.top`, or the number of queries times classes where that is less."""

    def __init__(self, model: QuerySegmenter, config: InferenceConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        valid = not_padding(images)
        outputs = self.model(images, valid).within(valid)
        logits = on_mask_cells(outputs.masks[-1])
        batch, queries = logits.shape[:2]
        table = outputs.class_logits[-1].softmax(-1)[:, :, :-1]
        top = min(self.config.top, queries * self.model.classes)
        likely, at = table.flatten(1).topk(top)
        quality = mask_quality(outputs.masks[-1].flatten(0, 1)).reshape(batch, queries)
        there = (logits > 0).flatten(2).any(-1)
        query = at // self.model.classes
        scores = likely * quality.gather(1, query)
        scores = torch.where(there.gather(1, query) & (scores > self.config.min_score), scores, 0.0)
        scores, order = scores.topk(top)
        at = at.gather(1, order)
        if self.config.mask_nms_iou < 1:
            overlap = mask_overlap(_taken(logits, at // self.model.classes) > 0)
            alone = not_suppressed(overlap, at % self.model.classes, scores, self.config.mask_nms_iou)
            scores, order = torch.where(alone, scores, 0.0).topk(top)
            at = at.gather(1, order)
        masks = _taken(logits, at // self.model.classes).sigmoid() * (scores > 0)[:, :, None, None]
        boxes = pixel_boxes(masks.flatten(0, 1), (images.shape[-2], images.shape[-1])).reshape(batch, top, 4)
        return boxes, scores, at % self.model.classes, masks


def _taken(maps: Tensor, index: Tensor) -> Tensor:
    """The maps "B Q h w" at int64 "B T": "B T h w"."""
    height, width = maps.shape[-2:]
    return maps.gather(1, index[:, :, None, None].expand(-1, -1, height, width))


def not_padding(images: Tensor) -> Tensor:
    """Bool "B H W" of images "B 3 H W": False in the rows below and the columns right of all that is not black."""
    bright = images.amax(1)
    rows, columns = (_up_to_the_last(bright.amax(axis) > 0) for axis in (2, 1))
    return rows[:, :, None] & columns[:, None, :]


def _up_to_the_last(held: Tensor) -> Tensor:
    """Whether a True stands here or later, of bool "B n"."""
    return held.flip(1).float().cumsum(1).flip(1) > 0

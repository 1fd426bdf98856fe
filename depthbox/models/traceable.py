"""The whole model as one graph: from images to boxes, scores and masks, with fixed counts and no branch on what is seen.

What eager prediction does with lists (`models/predict.py`) is done here with fixed numbers of candidates, so that a graph of it serves any batch
and any image size: places that hold nothing have score 0.
"""

import copy

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.config import InferenceConfig
from depthbox.models.detector import DenseOutputs, locations
from depthbox.models.dynamic_head import SIZES_OF_INTEREST, batched_mask_head
from depthbox.models.segmenter import Segmenter
from depthbox.ops.masks import aligned_bilinear

__all__ = ["OUTPUTS", "Traceable"]

OUTPUTS = ("boxes_xyxy", "scores", "labels", "masks")
ROUNDS = 24
"""Of suppression: candidates whose chain of suppressors is no longer than this are judged as one after the other."""


class Traceable(nn.Module):
    """Images "B 3 H W" in 0..1, H and W multiples of 32 -> boxes_xyxy "B T 4", scores "B T", labels "B T", masks "B T h w" (probabilities at stride 4).

    T is `config.top`, best first.
    """

    def __init__(self, model: Segmenter, config: InferenceConfig) -> None:
        super().__init__()
        self.model, self.config = _with_plain_padding(copy.deepcopy(model)).float().eval(), config

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
        kept = torch.where(_not_suppressed(boxes, labels, best, config.nms_iou), best, 0.0)
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


def _not_suppressed(boxes: Tensor, labels: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Bool "B N" of candidates sorted by score: greedy non-maximum suppression within a class, by rounds.

    A candidate stays where no better one that stays overlaps it. The best one is right from the start, and each round makes the next right that
    depend on right ones only.
    """
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    better = (rank[None, :] < rank[:, None]) & (labels[:, :, None] == labels[:, None, :])
    over = ((_iou(boxes) > iou) & better).to(boxes.dtype)
    there = scores > 0
    kept = there
    for _ in range(ROUNDS):
        kept = there & (torch.bmm(over, kept.to(boxes.dtype)[..., None])[..., 0] == 0)
    return kept


def _iou(boxes: Tensor) -> Tensor:
    """ "B N 4" -> "B N N"."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return overlap / (area[:, :, None] + area[:, None, :] - overlap).clamp(min=1e-9)


def _with_plain_padding(model: Segmenter) -> Segmenter:
    """TensorFlow's "same" padding asks for the size of its input; for the even sizes inside this network it is always the same."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _Padded(child))
    return model


class _Padded(nn.Module):
    def __init__(self, convolution: Conv2dSame) -> None:
        super().__init__()
        # Even sides: ceil(side / s) s = side, so that (k - 1) d + 1 - s is missing, the smaller half before.
        sides = zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
        missing = [max((k - 1) * d + 1 - s, 0) for k, s, d in sides]
        self.padding = [half for m in reversed(missing) for half in (m // 2, m - m // 2)]
        self.convolution = nn.Conv2d(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            dilation=convolution.dilation,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
        )
        self.convolution.load_state_dict(convolution.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, self.padding))

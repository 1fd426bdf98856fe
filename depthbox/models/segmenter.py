"""The whole network: backbone, pyramid, detector, dynamic masks. It knows no loss; a method asks for what it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from depthbox.core.errors import UsageError
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.backbone import Backbone, FeaturePyramid, build_backbone
from depthbox.models.config import DenseModelConfig, ModelConfig, QueryConfig
from depthbox.models.detector import DenseOutputs, FcosHead, locations
from depthbox.models.dynamic_head import HEADS, SIZES_OF_INTEREST, DynamicMasks, mask_head
from depthbox.models.mask_branch import Controller, MaskBranch
from depthbox.models.query_head import QuerySegmenter
from depthbox.ops.masks import aligned_bilinear

__all__ = ["Features", "Model", "Segmenter", "build", "compose", "count_classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One forward of the student: dense detections and the maps that masks are made from."""

    dense: DenseOutputs
    mask_features: Tensor
    """Float "B 16 h w" at `mask_feature_stride`."""


class Segmenter(nn.Module):
    """FCOS with CondInst or DG masks on a timm backbone."""

    def __init__(self, config: ModelConfig, backbone: Backbone, *, classes: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.mixed = False
        """True: the maps are computed in bfloat16; everything after them (masks, losses) stays float32."""
        self.backbone = backbone
        self.pyramid = FeaturePyramid(backbone.channels[1:], config.channels)
        self.detector = FcosHead(config.channels, classes, depth=config.head_depth)
        self.mask_branch = MaskBranch(
            config.channels, backbone.channels[0], width=config.mask_width, stride=config.mask_feature_stride
        )
        self.controller = Controller(config.channels, HEADS[config.mask_head])

    def forward(self, images: Tensor, pick: Callable[[Features], tuple] | None = None):
        """`Features` of images "B 3 H W" in 0..1, H and W multiples of 32.

        Training gives `pick`, which chooses the instances whose masks are wanted (its last value, with `image_index` and `point_index`), and
        gets (features, picked, masks): all parameters are then used inside one call, as DDP needs.
        """
        features = self._features(images)
        if pick is None:
            return features
        picked = pick(features)
        return features, picked, self.masks(features, picked[-1].image_index, picked[-1].point_index)

    def _features(self, images: Tensor) -> Features:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            features = self.backbone(images)
            levels = self.pyramid(features[1:])
            return Features(dense=self.detector(levels), mask_features=self.mask_branch(levels, features[0]).float())

    def masks(self, features: Features, image_index: Tensor, point_index: Tensor) -> DynamicMasks:
        """Mask logits (and P_d) "N h w" at stride 4 of the instances at these locations, grouped by image."""
        dense, stride = features.dense, self.config.mask_feature_stride
        parameters = self.controller(dense.tower, image_index, point_index)
        height, width = features.mask_features.shape[-2:]
        pixels = locations(height, width, stride, device=parameters.device)
        sizes = torch.tensor(SIZES_OF_INTEREST, device=parameters.device)[dense.level[point_index]]
        relative = (dense.points_xy[point_index][:, :, None] - pixels.T) / sizes[:, None, None]
        masks = mask_head(
            self.config.mask_head, features.mask_features, image_index, parameters, relative.view(-1, 2, height, width)
        )
        factor = stride // MASK_STRIDE
        up = None if masks.depth is None else aligned_bilinear(masks.depth[:, None], factor)[:, 0]
        return DynamicMasks(logits=aligned_bilinear(masks.logits[:, None], factor)[:, 0], depth=up)


Model = Segmenter | QuerySegmenter
"""What `model.head` chooses between; `predict` asks either."""


def compose(config: ModelConfig, backbone: Backbone, *, classes: int) -> Model:
    """The heads of `config` on a backbone."""
    head = QuerySegmenter if config.head == "query" else Segmenter
    return head(config, backbone, classes=classes)


def count_classes(config: ModelConfig | DenseModelConfig, state: Mapping[str, Tensor]) -> int:
    """How many classes weights of `config` tell apart. Raises `KeyError` with the name of the classifier that other weights do not have."""
    if isinstance(config, DenseModelConfig):
        return len(state["classifier.weight"])
    if config.head == "query":
        return len(state["decoder.classify.weight"]) - 1  # the last one is "no object"
    return len(state["detector.classify.weight"])


def build(config: ModelConfig, *, classes: int) -> Model:
    """The network of `config` for `classes` classes, its backbone weights loaded. Weights of new layers come from torch's global seed."""
    for name in ("channels", "mask_width"):
        width = getattr(config, name)
        if width < 8 or width % 8:
            raise UsageError(f"model.{name}={width}: takes a multiple of 8, for group norm")
    if config.head == "dynamic" and config.query != QueryConfig():
        raise UsageError("model.query.* are of model.head=query")
    backbone = build_backbone(config.backbone, weights=config.weights)
    if config.weights != "none":
        backbone.freeze(config.frozen_stages)
    return compose(config, backbone, classes=classes)

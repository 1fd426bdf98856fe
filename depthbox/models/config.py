"""What a network is made of, and what is done with what it says. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

from depthbox.core.config import added

__all__ = ["DenseModelConfig", "InferenceConfig", "ModelConfig", "QueryConfig", "SdeModelConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """`model.head=query`: how many queries (more than any photo has objects), how many decoder layers, attention heads, and the width of their feed-forward.

    `start` learned is the published form: the queries of every photo begin alike. picked: they begin as the features of the cells that look most like
    the middle of an object (FastInst's idea), and their masks around those cells, which a short run needs. `deformable` layers of multi-scale deformable
    attention make the maps they look at (6 as published); 0: a feature pyramid with group norm, which is faster.
    """

    start: Literal["learned", "picked"] = "picked"
    queries: int = 100
    layers: int = 6
    heads: int = 8
    width: int = 512
    deformable: int = added(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """`weights` is the backbone's start (auto, builtin, hub, none or a safetensors file), `init` a whole model's (a run folder or a file).

    `head` dynamic is FCOS with a mask head an instance (`head_depth`, `mask_head`, `mask_width`, `mask_feature_stride`), query is mask classification
    by masked attention (`query`). `frozen_stages` of a pretrained backbone stay as they are: 1 is everything up to stride 4.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "auto"
    frozen_stages: Literal[0, 1, 2, 3, 4] = 1
    init: str = ""
    head: Literal["dynamic", "query"] = added("dynamic")
    channels: int = 96
    head_depth: int = 2
    mask_head: Literal["condinst", "depth_guided"] = "condinst"
    mask_width: int = 64
    mask_feature_stride: Literal[4, 8] = 4
    query: QueryConfig = added(QueryConfig())


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeModelConfig:
    """Depth and pose networks that learn from video. Both encoders are any timm network; `weights` as in `ModelConfig`, `width` is that of the depth
    decoder at stride 2. The pose network sees every `pose_stride`-th pixel (their means). `init` starts from a whole earlier run of the same settings.

    `start` is the logit of every disparity before the first step. At 0 nothing can come nearer than half of the mean until the whole map has moved; at -2
    eight times nearer.

    The published network has `context` aspp (6/12/18) before its decoder and a `dilated` last stage, at stride 16; both cost a CPU dearly.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "auto"
    frozen_stages: Literal[0, 1, 2, 3, 4] = 0
    pose_backbone: str = "mobilenetv2_100"
    pose_weights: str = "auto"
    pose_stride: Literal[1, 2] = 2
    init: str = ""
    width: int = 32
    context: Literal["convolution", "aspp"] = added("convolution")
    dilated: bool = added(False)
    start: float = added(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseModelConfig:
    """Semantic segmentation with the encoder and a copy of the decoder of `SdeModelConfig`, whose run can be its `init`; a whole earlier run of its
    own can be too.

    `multi_task` has a depth decoder beside it, which exchanges features with it and learns from video: it needs the pose network.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "auto"
    frozen_stages: Literal[0, 1, 2, 3, 4] = 0
    init: str = ""
    width: int = 32
    context: Literal["convolution", "aspp"] = "convolution"
    dilated: bool = False
    multi_task: bool = False
    pose_backbone: str = "mobilenetv2_100"
    pose_weights: str = "auto"
    pose_stride: Literal[1, 2] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """FCOS post-processing: class scores above `score_threshold`, then detection scores sqrt(class * quality) above `min_score`.

    The query head has no boxes before its masks: the `top` pairs of query and class, those with class * mask quality above `min_score`, and where
    `mask_nms_iou` is below 1 of masks of a class that overlap more than that the best alone.
    """

    score_threshold: float = 0.05
    min_score: float = 0.0
    nms_iou: float = 0.6
    before_nms: int = 1000
    top: int = 100
    mask_nms_iou: float = added(1.0)

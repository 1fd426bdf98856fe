"""What a network is made of, and what is done with what it says. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["InferenceConfig", "ModelConfig", "SdeModelConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """`weights` is the backbone's start (auto, builtin, hub, none or a safetensors file), `init` a whole model's (a run folder or a file).

    `frozen_stages` of a pretrained backbone stay as they are: 1 is everything up to stride 4.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "auto"
    frozen_stages: Literal[0, 1, 2, 3, 4] = 1
    init: str = ""
    channels: int = 96
    head_depth: int = 2
    mask_head: Literal["condinst", "depth_guided"] = "condinst"
    mask_width: int = 64
    mask_feature_stride: Literal[4, 8] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeModelConfig:
    """Depth and pose networks that learn from video. Both encoders are any timm network; `weights` as in `ModelConfig`, `width` is that of the depth
    decoder at stride 2. The pose network sees every `pose_stride`-th pixel (their means). `init` starts from a whole earlier run of the same settings.
    """

    backbone: str = "mobilenetv2_100"
    weights: str = "auto"
    frozen_stages: Literal[0, 1, 2, 3, 4] = 0
    pose_backbone: str = "mobilenetv2_100"
    pose_weights: str = "auto"
    pose_stride: Literal[1, 2] = 2
    init: str = ""
    width: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """FCOS post-processing: class scores above `score_threshold`, then detection scores sqrt(class * quality) above `min_score`."""

    score_threshold: float = 0.05
    min_score: float = 0.0
    nms_iou: float = 0.6
    before_nms: int = 1000
    top: int = 100

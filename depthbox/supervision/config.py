"""The numbers of each method; what they mean stands with the method. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BoxDepthConfig", "BoxDepthWeights", "FullConfig", "FullWeights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDepthWeights:
    """All 1 in the paper."""

    class_focal: float = 1.0
    box_giou: float = 1.0
    box_quality: float = 1.0
    projection: float = 1.0
    color_affinity: float = 1.0
    depth_affinity: float = 1.0
    instance_depth: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDepthConfig:
    """The colour ramp 0..W and the depth ramp W..2W, W = `warm_up`, are fractions of the run; thresholds as published.

    Ours, 0 for off: `color_veto` is the Lab distance above which a depth edge is not believed, `depth_veto` the step of disparity (0..255)
    above which a colour edge is not.
    """

    weights: BoxDepthWeights = BoxDepthWeights()
    box_quality: Literal["iou", "centerness"] = "iou"
    masks_per_image: int = 64
    color_threshold: float = 0.3
    depth_threshold: float = 0.5
    depth_theta: float = 2.0
    depth_form: Literal["difference", "plane"] = "difference"
    depth_inside_only: bool = False
    color_veto: float = 0.0
    depth_veto: float = 0.0
    warm_up: float = 1 / 9
    needs_masks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FullWeights:
    class_focal: float = 1.0
    box_giou: float = 1.0
    box_quality: float = 1.0
    mask_dice: float = 1.0
    mask_bce: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FullConfig:
    """`mask_bce` (mean over the pixels of the box) is ours beside CondInst's dice: it makes the twin stronger."""

    weights: FullWeights = FullWeights()
    box_quality: Literal["iou", "centerness"] = "iou"
    masks_per_image: int = 64
    needs_masks: bool = True

"""What self-supervision from video weighs, and the limits of its depth; shared by `sde` and multi-task training."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["SdeWeights", "VideoTermsConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeWeights:
    """`feature_distance` holds the depth encoder near `model.weights`, also where it starts from `model.init` (1e-2 in the paper's second phase); 0: no copy
    of those is kept.

    `motion` (what the pose network learns aligned motions by), `still_far` (what stands still explains best is held to be far) and `lower_near` (how near
    things are begins as how low they are in the image; falls to 0 over half of the run) are ours.
    """

    photometric: float = 1.0
    smoothness: float = 1e-3
    motion: float = 1.0
    still_far: float = 1e-2
    lower_near: float = 0.1
    feature_distance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTermsConfig:
    """Predicted depth lies between `nearest` and `farthest`, in a unit that nobody knows; `scales` disparities learn.

    `scale_free` (ours) takes the scale of each image out of the photometric error; false is the published form.
    """

    nearest: float = 0.1
    farthest: float = 100.0
    scales: Literal[1, 2, 3, 4] = 4
    scale_free: bool = True

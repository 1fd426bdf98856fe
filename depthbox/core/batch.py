"""The records that travel between the stages: what a batch holds, what a model says."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace

import torch
from torch import Tensor

__all__ = ["Batch", "Frames", "Instances", "TeacherView", "Views"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """The labelled objects of one image: boxes always, masks only where a method may see them."""

    boxes_xyxy: Tensor
    """Float "N 4", pixels of the padded view."""
    labels: Tensor
    """Int64 "N", 0..K-1."""
    masks: Tensor | None = None
    """Bool "N H W" at view size, or None: a box-supervised batch carries no mask at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherView:
    """The plain photo as large as the student may ever see it, with the student's flip."""

    images: Tensor
    """Float "B 3 H' W'", padded like the other views."""
    scale_xy: Tensor
    """Float "B 2": teacher pixels a student pixel, per image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """One geometry, two appearances. `weak` is the plain photo, `strong` the same pixels with colour changes."""

    weak: Tensor
    """Float "B 3 H W", RGB in 0..1, padded right and below with zeros."""
    strong: Tensor
    """Like `weak`; the same tensor where the recipe has no strong view."""
    disparity: Tensor | None
    """Float "B 1 H W" in [0, 1], NaN where unknown or padded; None where the run has no depth."""
    valid: Tensor
    """Bool "B H W", False on padding."""
    teacher: TeacherView | None = None
    """None: a teacher looks at `weak`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Moments of a video: the target, the frame before it, the frame after it."""

    plain: Tensor
    """Float "B 3 3 H W": frames, then channels, RGB in 0..1; no padding."""
    strong: Tensor
    """The same pixels with the colour changes of one draw for all frames of a sample; the same tensor where there are none."""
    intrinsics: Tensor
    """Float "B 4": fx, fy, u0, v0 normalised by the size of the image (`ops.geometry`); NaN where an image of a semantic batch has no neighbours,
    and stands in for them itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    views: Views
    instances: Sequence[Instances]
    image_ids: Sequence[int] = field(default_factory=tuple)
    supervision: Sequence[str] = field(default_factory=tuple)
    """One word an image: "masks", "boxes" or "none"; empty: every image is labelled as the method needs. With `semantic`: "labels", "none", or
    "source" for a labelled image of another domain; `core.domains.domain_pairs` says which of those goes with which target."""
    truth: Sequence[Instances | None] = field(default_factory=tuple)
    """What unlabelled images hold, where it is known: for figures alone, never for a loss."""
    frames: Frames | None = None
    """Of a video; `views` then show the target."""
    semantic: Tensor | None = None
    """Int64 "B H W", 0..K-1, IGNORE where unlabelled or padded: all of an image whose word is "none"."""
    semantic_truth: Tensor | None = None
    """The same of images without labels too, where it is known: for figures alone, never for a loss."""

    def to(self, device: torch.device) -> "Batch":
        return _moved(self, device)


def _moved(value, device):
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if is_dataclass(value):
        return replace(value, **{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    return value

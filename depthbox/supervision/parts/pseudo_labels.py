"""What a teacher's queries are believed: the pairs of query and class that are good enough, as targets for the student (PL-DC)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.batch import Instances
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.query_head import OUTSIDE
from depthbox.models.query_predict import QueryPairs, mask_iou, without_doubles
from depthbox.ops.masks import aligned_bilinear
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.query_terms import QueryTargets

__all__ = ["PseudoLabels", "Verdict", "as_targets", "believed", "full_size", "uncertainty", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoLabels:
    """What is kept of one image, best first."""

    query: Tensor
    """Int64 "N"; a query once at most."""
    labels: Tensor
    class_quality: Tensor
    mask_quality: Tensor
    logits: Tensor
    """The teacher's mask logits "N h w" at stride 4."""
    boxes_xyxy: Tensor | None = None
    """As in `QueryPairs`."""
    class_share: Tensor | None = None
    """Float "N": what its class has of the probabilities of all classes; None before somebody asked."""

    def taken(self, which: Tensor) -> "PseudoLabels":
        values = {name: getattr(self, name) for name in self.__slots__}
        return replace(self, **{name: value[which] for name, value in values.items() if value is not None})

    def named(self, labels: Tensor, probabilities: Tensor) -> "PseudoLabels":
        """With these labels, by probabilities "N K"."""
        share = probabilities.gather(1, labels[:, None])[:, 0]
        return replace(self, labels=labels, class_share=share)


def believed(pairs: QueryPairs, thresholds: Tensor, config: PlDcConfig) -> PseudoLabels:
    """The pairs whose qualities reach `thresholds` "2 N" (class, mask; `config.kept_by` says which of them count), whose mask is larger than `min_pixels` and
    has a pixel at full size. Of a query only the likeliest of its classes that do; of masks that overlap by more than `pseudo_nms_iou` only the first.

    Area: the pixels of the mask; where the class alone counts (guided distillation), its quality is above the threshold and the area is the sum of
    probabilities at stride 4, without padding.
    """
    c, s = pairs.class_quality, pairs.mask_quality
    match config.kept_by:
        case "two":
            good = (c >= thresholds[0]) & (s >= thresholds[1])
        case "coupled":
            good = c * s >= config.class_threshold
        case "class":
            good = c > config.class_threshold
    again = ((pairs.query[:, None] == pairs.query) & good).tril(-1).any(1)
    every = PseudoLabels(**{name: getattr(pairs, name) for name in pairs.__slots__})
    # A hundred masks at full size take time, so only the good ones are looked at there.
    chosen = every.taken((good & ~again).nonzero()[:, 0])
    pixels = full_size(chosen).flatten(1).sum(1)
    soft = chosen.logits.sigmoid() * (chosen.logits != OUTSIDE)
    area = soft.flatten(1).sum(1) if config.kept_by == "class" else pixels
    chosen = chosen.taken(((area > config.min_pixels) & (pixels > 0)).nonzero()[:, 0])
    return (
        chosen.taken(without_doubles(chosen.logits > 0, config.pseudo_nms_iou)) if config.pseudo_nms_iou < 1 else chosen
    )


def uncertainty(logits: Tensor) -> Tensor:
    """u = 1 - 2 |sigmoid(m) - 0.5|: 1 where the teacher does not know, 0 where it is sure."""
    return 1 - 2 * (logits.sigmoid() - 0.5).abs()


def as_targets(kept: PseudoLabels, *, weigh_pixels: bool) -> QueryTargets:
    """Masks [m > 0] at full size; with `weigh_pixels` a pixel counts 1 - u in the BCE, u at full size too: between a sure cell and its sure
    neighbour outside the mask lie the pixels that nobody is sure of."""
    logits = _enlarged(kept)
    return QueryTargets(
        labels=kept.labels,
        masks=(logits > 0).float(),
        pixel_weights=1 - uncertainty(logits) if weigh_pixels else None,
    )


def full_size(kept: PseudoLabels) -> Tensor:
    """Bool masks "N H W"."""
    return _enlarged(kept) > 0


def _enlarged(kept: PseudoLabels) -> Tensor:
    logits = kept.logits
    height, width = (MASK_STRIDE * side for side in logits.shape[-2:])
    if not len(logits):
        return logits.new_zeros((0, height, width))
    if kept.boxes_xyxy is not None:
        return aligned_bilinear(logits[:, None], MASK_STRIDE)[:, 0]
    return F.interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many pseudo labels of a batch are right, where the truth is known."""

    kept: int
    masks: int
    """The first with an IoU of at least 0.5 with an object."""
    right: int
    """And its class."""
    right_before: int
    """And its class before the correction."""
    objects: int


def verdict(kept: Sequence[PseudoLabels], before: Sequence[Tensor], truth: Sequence[Instances | None]) -> Verdict:
    """Of the images whose truth has masks; `before` holds the labels before their correction. An object is found once, by the best of its masks."""
    counts = torch.zeros(5, dtype=torch.long)
    for labels, old, objects in zip(kept, before, truth, strict=True):
        if objects is None or objects.masks is None:
            continue
        counts[0] += len(labels.labels)
        counts[4] += len(objects.labels)
        if not len(labels.labels) or not len(objects.labels):
            continue
        overlap, owner = mask_iou(full_size(labels), objects.masks).max(1)
        found = overlap >= 0.5
        found &= ~((owner[:, None] == owner) & found).tril(-1).any(1)
        counts[1] += found.sum().cpu()
        counts[2] += (found & (objects.labels[owner] == labels.labels)).sum().cpu()
        counts[3] += (found & (objects.labels[owner] == old)).sum().cpu()
    n, masks, right, right_before, total = counts.tolist()
    return Verdict(kept=n, masks=masks, right=right, right_before=right_before, objects=total)

"""Two images become one: what of each is seen, by depth (DepthMix) or by class (ClassMix), and what the mixture is taught (METHODS 3.3).

Axes: B images of a batch, each mixed with its partner; K classes. Disparity is min-max normalised per image, 1 = nearest.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.shapes import IGNORE

__all__ = ["class_mask", "confident_share", "depth_mask", "half_of_classes", "mix", "mixed_cross_entropy", "one_hot_truth", "pseudo_labels"]  # fmt: skip

CONFIDENT = 0.968


def depth_mask(disparity: Tensor, other: Tensor, *, margin: float | Tensor = 0.03) -> Tensor:
    """Bool, true where the own image is in front: `disparity >= other - margin`, all of one shape. Unknown (NaN) counts as infinitely far.

    >>> depth_mask(torch.tensor([0.50, 0.50, 0.10]), torch.tensor([0.52, 0.60, torch.nan])).tolist()
    [True, False, True]
    """
    return torch.nan_to_num(disparity) >= torch.nan_to_num(other) - margin


def half_of_classes(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Half (rounded up) of the classes that are in `labels`, drawn without replacement; IGNORE is none (ClassMix)."""
    present = labels.unique()
    present = present[present != IGNORE].cpu()
    drawn = torch.randperm(len(present), generator=generator)[: (len(present) + 1) // 2]
    return present[drawn].to(labels.device)


def class_mask(labels: Tensor, classes: Tensor) -> Tensor:
    """Bool, true where the label is one of `classes`."""
    return torch.isin(labels, classes)


def mix(mask: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """`own` where the mask "B H W" is true, `other` elsewhere; both "B H W" or "B C H W"."""
    return torch.where(mask if own.ndim == mask.ndim else mask.unsqueeze(1), own, other)


def one_hot_truth(labels: Tensor, classes: int) -> Tensor:
    """Labels "B H W" as probabilities "B K H W": certain, and all zero where they are IGNORE."""
    known = labels != IGNORE
    return F.one_hot(torch.where(known, labels, 0), classes).movedim(-1, 1) * known.unsqueeze(1)


def pseudo_labels(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Largest probability "B H W" of "B K H W", and its class; IGNORE where every one is 0, as `one_hot_truth` leaves unlabelled pixels."""
    confidence, labels = probabilities.max(1)
    return confidence, torch.where(confidence > 0, labels, IGNORE)


def confident_share(confidence: Tensor, *, threshold: float = CONFIDENT) -> Tensor:
    """q, one scalar for all pixels: the share with a largest probability of at least `threshold`."""
    return (confidence >= threshold).float().mean()


def mixed_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """mean over *all* pixels of weight * CE: logits "B K H W", labels "B H W"; IGNORE costs 0 and still counts; `weight` a scalar or "B H W"."""
    return (weight * F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")).mean()

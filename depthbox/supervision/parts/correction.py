"""The class of a pseudo label as teacher and second opinion agree on it (PL-DC, dynamic category correction)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.batch import Batch
from depthbox.supervision.parts.category import CategoryPrior, Shown, fused
from depthbox.supervision.parts.looks import Look
from depthbox.supervision.parts.pseudo_labels import PseudoLabels

__all__ = ["Looked", "corrected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Some images of a batch and what the teacher said about them."""

    batch: Batch
    said: Look | None
    """None where there is no image."""
    images: Tensor
    """Int64: indices into the batch, first those without labels."""
    features: bool
    """Whether the teacher looked at all of them, so that it has features of each; else at those without labels alone."""
    mixed: bool

    def shown(self, at: int, masks: Tensor) -> Shown:
        """Float masks "N h w" in the image that is counted by `at`."""
        views, image = self.batch.views, int(self.images[at])
        disparity = None if views.disparity is None else views.disparity[image]
        features = self.said.features(at) if self.features and self.said is not None else None
        return Shown(image=views.weak[image], disparity=disparity, features=features, masks=masks)


def corrected(
    prior: CategoryPrior, looked: Looked, kept: Sequence[PseudoLabels], *, share: float
) -> list[PseudoLabels]:
    """`kept`, of the first images, with the classes that are likeliest to both (`fused`); nothing is filtered again, masks stay. Then `prior` learns.

    Every rank must call it at every step."""
    weak = looked.batch.views.weak
    with torch.autocast(weak.device.type, torch.bfloat16, enabled=looked.mixed):
        rows = [prior.described(looked.shown(at, (one.logits > 0).float())) for at, one in enumerate(kept)]
        true_rows, true_labels = _labelled(prior, looked, len(kept))
    found = []
    for at, (one, described) in enumerate(zip(kept, rows, strict=True)):
        assert looked.said is not None
        both = fused(looked.said.probabilities(at, one.query), prior.probabilities(described), share)
        found.append(one.named(both.argmax(1), both))
    learnt = [weak.new_zeros(0, prior.width), *(rows if prior.of_kept else []), *true_rows]
    labels = [looked.images[:0], *((one.labels for one in found) if prior.of_kept else []), *true_labels]
    told, names = torch.cat(learnt), torch.cat(labels)
    sound = told.isfinite().all(1)  # What is once learnt stays.
    prior.learn(told[sound], names[sound])
    return found


def _labelled(prior: CategoryPrior, looked: Looked, first: int) -> tuple[list[Tensor], list[Tensor]]:
    """Descriptions and classes of the labelled objects in view, of the images from `first` on."""
    rows, labels = [], []
    for at, image in enumerate(looked.images[first:].tolist(), first):
        objects = looked.batch.instances[image]
        assert objects.masks is not None
        there = objects.masks.flatten(1).any(1)
        rows.append(prior.described(looked.shown(at, objects.masks[there].float()), labelled=True))
        labels.append(objects.labels[there])
    return rows, labels

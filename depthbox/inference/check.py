"""Whether an exported graph says what the eager model says: detections matched one by one, their masks compared at full size; of pixels their classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from depthbox.core.errors import InputError
from depthbox.inference.check_pixels import LEAST_IOU, PixelAgreement, compared_pixels
from depthbox.models.config import InferenceConfig
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.predict import ImagePredictions, paste, predict
from depthbox.models.query_predict import mask_iou
from depthbox.models.segmenter import Model
from depthbox.models.traceable_query import not_padding

__all__ = ["Agreement", "Runner", "compared", "from_graph"]

Runner = Callable[[Tensor], Sequence[Tensor]]
"""Images "B 3 H W" -> what `traceable` gives."""

LEAST_SCORE = 0.05
"""Of an object that must have a counterpart: which of the last of a hundred candidates are let in is decided by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Over the objects of the eager model with a score above 0.05."""

    objects: int
    missing: int
    """Objects without a counterpart, or counterparts without an object."""
    mask_iou: float
    """Mean."""
    score_difference: float
    """Largest."""

    @property
    def holds(self) -> bool:
        return self.mask_iou >= LEAST_IOU and not self.missing

    def in_words(self) -> str:
        missing = f", {self.missing} without a counterpart" if self.missing else ""
        return f"{self.objects} objects{missing}, mean mask IoU {self.mask_iou:.5f}, scores within {self.score_difference:.1e}"


@overload
def compared(run: Runner, model: Model, inference: InferenceConfig, images: Sequence[Tensor]) -> Agreement: ...
@overload
def compared(
    run: Runner, model: Model | DenseNetwork, inference: InferenceConfig, images: Sequence[Tensor]
) -> Agreement | PixelAgreement: ...
def compared(
    run: Runner, model: Model | DenseNetwork, inference: InferenceConfig, images: Sequence[Tensor]
) -> Agreement | PixelAgreement:
    """Images "3 H W" of any sizes, alone and as batches of one size. Raises `InputError` where no object is found in any: masks cannot be compared then."""
    if isinstance(model, DenseNetwork):
        return compared_pixels(run, model, _batches(images))
    ious: list[float] = []
    missing, difference = 0, 0.0
    for batch in _batches(images):
        wanted = predict(model, batch, config=inference, valid=not_padding(batch))
        with torch.no_grad():
            found = from_graph(run(batch))
        for one, other in zip(wanted, found, strict=True):
            pairs = _pairs(one, other)
            missing += int((one.scores > LEAST_SCORE).sum()) - len(pairs)
            missing += int((other.scores > LEAST_SCORE).sum()) - len(_pairs(other, one))
            for i, j in pairs:
                size_hw = (batch.shape[-2], batch.shape[-1])
                a, b = (paste(m.masks[k : k + 1], size_hw)[0] > 0.5 for m, k in ((one, i), (other, j)))
                union = float((a | b).sum())
                ious.append(float((a & b).sum()) / union if union else 1.0)
                difference = max(difference, abs(float(one.scores[i] - other.scores[j])))
    if not ious and not missing:
        cause = f"the model finds nothing in the {len(images)} photos it is to be checked on"
        raise InputError("export", "", cause, "give photos of its classes: images=DIR")
    mean = sum(ious) / max(len(ious), 1)
    return Agreement(objects=len(ious), missing=missing, mask_iou=mean, score_difference=difference)


def from_graph(outputs: Sequence[Tensor]) -> list[ImagePredictions]:
    """The fixed places of a graph as detections: those with a score."""
    return [
        ImagePredictions(boxes_xyxy=boxes[kept], scores=scores[kept], labels=labels[kept], masks=masks[kept])
        for boxes, scores, labels, masks in zip(*outputs, strict=True)
        for kept in [scores > 0]
    ]


def _batches(images: Sequence[Tensor]) -> list[Tensor]:
    """Every image alone, and those of each padded size once more together: a batch of one is where graphs are taken for constant."""
    padded = [F.pad(image, (0, -image.shape[2] % 32, 0, -image.shape[1] % 32)) for image in images]
    sizes: dict[torch.Size, list[Tensor]] = {}
    for image in padded:
        sizes.setdefault(image.shape, []).append(image)
    together = [torch.stack(alike) for alike in sizes.values() if len(alike) > 1]
    return [image[None] for image in padded] + together


def _pairs(one: ImagePredictions, other: ImagePredictions) -> list[tuple[int, int]]:
    """The counterpart of each object that counts: of its class, with nearly its box, and of several such the one with its mask and score."""
    if not len(one.scores) or not len(other.scores):
        return []
    alike = box_iou(one.boxes_xyxy, other.boxes_xyxy) * (one.labels[:, None] == other.labels) > 0.95
    fit = mask_iou(one.masks > 0.5, other.masks > 0.5) - (one.scores[:, None] - other.scores).abs()
    best = fit.masked_fill(~alike, -2.0).max(1)
    counted = (one.scores > LEAST_SCORE).tolist()
    return [(i, int(best.indices[i])) for i, counts in enumerate(counted) if counts and best.values[i] >= -1]

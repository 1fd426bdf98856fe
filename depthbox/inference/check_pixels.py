"""Whether an exported graph gives every pixel the class that the eager model gives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthbox.evaluate.semantic import confusion, semantic_scores
from depthbox.models.dense_head import DenseNetwork

__all__ = ["LEAST_IOU", "PixelAgreement", "compared_pixels"]

LEAST_IOU = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelAgreement:
    mask_iou: float
    """Mean over the classes that either sees, of the pixels of all images."""
    pixels: float
    """Share that has the same class."""
    logit_difference: float
    """Largest."""

    @property
    def holds(self) -> bool:
        return self.mask_iou >= LEAST_IOU

    def in_words(self) -> str:
        return f"mean IoU of the label maps {self.mask_iou:.5f}, {self.pixels:.3%} of the pixels alike, logits within {self.logit_difference:.1e}"


@torch.no_grad()
def compared_pixels(
    run: Callable[[Tensor], Sequence[Tensor]], model: DenseNetwork, batches: Sequence[Tensor]
) -> PixelAgreement:
    """Batches of images "B 3 H W", H and W multiples of 32."""
    matrix, difference = np.zeros((model.classes,) * 2, np.int64), 0.0
    for batch in batches:
        wanted, (found,) = model.class_logits(batch), run(batch)
        difference = max(difference, float((wanted - found).abs().max()))
        matrix += confusion(found.argmax(1).numpy(), wanted.argmax(1).numpy(), model.classes)
    scores = semantic_scores(matrix, [str(number) for number in range(model.classes)])
    return PixelAgreement(mask_iou=scores["miou"], pixels=scores["pixel_accuracy"], logit_difference=difference)

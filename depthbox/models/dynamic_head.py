"""The per-instance mask heads: a tiny network whose weights the detector predicts (CondInst), and its depth-guided form.

CondInst (233 parameters, 18 -> 8 -> 8 -> 1) orders them [W1 144 | W2 64 | W3 8 | b1 8 | b2 8 | b3 1]; the DG-MaskHead (242) [W1 144 | W2 64 |
W_d 8 | W_m 8 | b1 8 | b2 8 | b_d 1 | b_m 1]. Inputs are two relative coordinates, then 16 mask features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HEADS", "SIZES_OF_INTEREST", "DynamicMasks", "mask_head"]

FEATURES, HIDDEN = 16, 8
SIZES_OF_INTEREST = (64.0, 128.0, 256.0, 512.0, 1024.0)
HEADS = {"condinst": 233, "depth_guided": 242}


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicMasks:
    logits: Tensor
    """Float "N h w" at the stride of the mask features."""
    depth: Tensor | None
    """P_d in 0..1, "N h w", from the DG-MaskHead; None from the plain head."""


def mask_head(kind: str, features: Tensor, image_index: Tensor, parameters: Tensor, relative: Tensor) -> DynamicMasks:
    """Run each instance's head on its image's features.

    features "B 16 h w", image_index int64 "N", parameters "N 233" or "N 242", relative "N 2 h w": (instance location - pixel location) /
    size of interest, x first. The depth-guided logit is (W_m F1) * P_d with P_d = sigmoid(W_d F1): P_d scales a logit, never flips it.
    """
    outputs = 1 if kind == "condinst" else 2
    w1, w2, w3, b1, b2, b3 = parameters.split(
        (HIDDEN * (FEATURES + 2), HIDDEN * HIDDEN, HIDDEN * outputs, HIDDEN, HIDDEN, outputs), 1
    )
    n, (height, width) = len(parameters), features.shape[-2:]
    w1 = w1.view(n, HIDDEN, FEATURES + 2)
    hidden = torch.baddbmm(b1[:, :, None], w1[:, :, :2], relative.flatten(2)) + _shared_product(
        w1[:, :, 2:], features.flatten(2), image_index
    )
    hidden = torch.baddbmm(b2[:, :, None], w2.view(n, HIDDEN, HIDDEN), hidden.relu()).relu()
    out = torch.baddbmm(b3[:, :, None], w3.view(n, outputs, HIDDEN), hidden).view(n, outputs, height, width)
    if kind == "condinst":
        return DynamicMasks(logits=out[:, 0], depth=None)
    depth = out[:, 0].sigmoid()
    return DynamicMasks(logits=out[:, 1] * depth, depth=depth)


def _shared_product(weights: Tensor, features: Tensor, image_index: Tensor) -> Tensor:
    """weights[n] @ features[image_index[n]] without a copy of the features per instance: instances come grouped by image."""
    counts = torch.bincount(image_index, minlength=len(features)).tolist()
    parts = [
        torch.matmul(w.flatten(0, 1), f).unflatten(0, w.shape[:2])
        for w, f in zip(weights.split(counts), features, strict=True)
    ]
    return torch.cat(parts)

"""The per-instance mask heads: a tiny network whose weights the detector predicts (CondInst), and its depth-guided form.

CondInst (233 parameters, 18 -> 8 -> 8 -> 1) orders them [W1 144 | W2 64 | W3 8 | b1 8 | b2 8 | b3 1]; the DG-MaskHead (242) [W1 144 | W2 64 |
W_d 8 | W_m 8 | b1 8 | b2 8 | b_d 1 | b_m 1]. Inputs are two relative coordinates, then 16 mask features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HEADS", "SIZES_OF_INTEREST", "DynamicMasks", "batched_mask_head", "mask_head"]

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
    Raises `ValueError` for another `kind`.
    """
    _check(kind)
    if (image_index.diff() < 0).any():
        order = image_index.argsort(stable=True)
        sorted_masks = mask_head(kind, features, image_index[order], parameters[order], relative[order])
        back, depth = order.argsort(), sorted_masks.depth
        return DynamicMasks(logits=sorted_masks.logits[back], depth=None if depth is None else depth[back])
    counts = torch.bincount(image_index, minlength=len(features)).tolist()
    groups = zip(features, parameters.split(counts), relative.split(counts), strict=True)
    # One image after the other: its hidden maps stay in the processor's cache, and no map of features is copied for an instance.
    out = torch.cat([_layers(kind, f.flatten(1), p, r.flatten(2)) for f, p, r in groups]).unflatten(
        -1, relative.shape[-2:]
    )
    if kind == "condinst":
        return DynamicMasks(logits=out[:, 0], depth=None)
    depth = out[:, 0].sigmoid()
    return DynamicMasks(logits=out[:, 1] * depth, depth=depth)


def batched_mask_head(kind: str, features: Tensor, parameters: Tensor, places: Tensor, pixels: Tensor) -> Tensor:
    """The same logits where every image has T instances, without a loop: what can be traced for an export. "B T h w".

    features "B 16 h w", parameters "B T p", places "B T 3" (x, y and size of interest of each instance), pixels "hw 2" (x, y). The relative coordinate
    (x - pixel) / size is spread over bias and weights: -w / size acts on the pixel, which all instances share, and w x / size joins the bias.
    """
    _check(kind)
    (batch, count), outputs = parameters.shape[:2], 1 if kind == "condinst" else 2
    w1, w2, w3, b1, b2, b3 = _cut(parameters.flatten(0, 1), outputs)
    center, size = places[..., :2].reshape(-1, 1, 2), places[..., 2:].reshape(-1, 1, 1)
    coordinates = w1[:, :, :2] / size
    w1 = torch.cat((-coordinates, w1[:, :, 2:]), 2).reshape(batch, count * HIDDEN, FEATURES + 2)
    b1 = (b1 + (coordinates * center).sum(-1)).reshape(batch, count * HIDDEN, 1)
    maps = torch.cat((pixels.T.expand(batch, -1, -1), features.flatten(2)), 1)
    hidden = (torch.bmm(w1, maps) + b1).relu().reshape(batch * count, HIDDEN, -1)
    hidden = (torch.bmm(w2, hidden) + b2[:, :, None]).relu()
    out = torch.bmm(w3, hidden) + b3[:, :, None]
    logits = out[:, 0] if kind == "condinst" else out[:, 1] * out[:, 0].sigmoid()
    return logits.reshape(batch, count, *features.shape[-2:])


def _check(kind: str) -> None:
    if kind not in HEADS:
        raise ValueError(f"mask head {kind!r}: allowed are {', '.join(HEADS)}")


def _cut(parameters: Tensor, outputs: int) -> tuple[Tensor, ...]:
    """The weights "n o i" and biases "n o" of the three layers, from "n p"."""
    n = parameters.shape[0]  # len() would make a constant of it in a trace
    w1, w2, w3, b1, b2, b3 = parameters.split(
        (HIDDEN * (FEATURES + 2), HIDDEN * HIDDEN, HIDDEN * outputs, HIDDEN, HIDDEN, outputs), 1
    )
    return w1.view(n, HIDDEN, FEATURES + 2), w2.view(n, HIDDEN, HIDDEN), w3.view(n, outputs, HIDDEN), b1, b2, b3


def _layers(kind: str, features: Tensor, parameters: Tensor, relative: Tensor) -> Tensor:
    """The three layers on one image: features "16 hw", parameters "n p", relative "n 2 hw" -> "n 1 hw" or, depth first, "n 2 hw"."""
    n, outputs = len(parameters), 1 if kind == "condinst" else 2
    w1, w2, w3, b1, b2, b3 = _cut(parameters, outputs)
    seen = torch.addmm(b1.reshape(-1, 1), w1[:, :, 2:].reshape(-1, FEATURES), features).view(
        n, HIDDEN, features.shape[1]
    )
    hidden = torch.baddbmm(seen, w1[:, :, :2], relative).relu_()
    hidden = torch.baddbmm(b2[:, :, None], w2, hidden).relu_()
    return torch.baddbmm(b3[:, :, None], w3, hidden)

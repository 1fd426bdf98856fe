"""For every given box the best mask, forced to agree with it.

Of the masks that the network offers (`candidates`) the one whose box, class and depth fit best is taken (depth-aware matching, one mask a box), cut to
the box, and cut off at another probability than 0.5 where it fills the box clearly better so.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.shapes import MASK_STRIDE
from depthbox.data.decode import Decoded
from depthbox.evaluate.runner import network_input
from depthbox.inference.candidates import Photograph, candidates
from depthbox.inference.config import Matching
from depthbox.inference.predictor import InstancePredictor
from depthbox.inference.quality import Quality, quality_of, tight_agreement
from depthbox.ops.masks import box_masks, ellipse_masks
from depthbox.supervision.parts.matching import depth_agreement, depth_aware_scores, match_best, right_similarity

__all__ = ["BoxMask", "Boxes", "masks_of_boxes"]

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Where a mask may be cut off."""
TOLERANCE = 0.1
"""So much of the box's IoU another level than 0.5 must gain: cut to fill the box at any price, masks become too fat."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """What is known of one photo."""

    boxes_xyxy: np.ndarray
    """Float (N, 4) in pixels of the photo's file."""
    labels: np.ndarray
    """Int64 (N,): the model's class, -1 where it has none of that name."""
    disparity: np.ndarray | None = None
    """Float (h, w) in [0, 1], 1 nearest, NaN unknown, of the photo's aspect; None without depth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxMask:
    mask: np.ndarray
    """Bool, the part of the photo that `window` (rows, columns) names; outside it the mask is empty."""
    window: tuple[slice, slice]
    quality: Quality


@torch.no_grad()
def masks_of_boxes(predictor: InstancePredictor, photo: Decoded, known: Boxes, matching: Matching) -> list[BoxMask]:
    """One mask a box, in their order, never empty."""
    if not len(known.boxes_xyxy):
        return []
    seen = _photograph(predictor, photo, known)
    offered = candidates(predictor.model, seen, matching)
    boxes, areas = seen.boxes_xyxy, box_masks(seen.boxes_xyxy, seen.size_hw, MASK_STRIDE)
    similarity = _similarity(known.disparity, photo, seen.size_hw, matching.theta, predictor.device)
    depth = torch.zeros_like(offered.scores)
    if similarity is not None:
        depth = depth_agreement(offered.masks, areas, similarity, form="B")
    total = depth_aware_scores(
        boxes, offered.boxes_xyxy, offered.scores, depth, box=matching.box_cost, depth=matching.depth_cost
    )
    best = _matched(total.masked_fill(~offered.allowed, -9.0))
    chosen = _fallback(offered.masks[best], areas, boxes, seen.size_hw)
    return [
        _cut(chosen[i], known.boxes_xyxy[i], photo, float(depth[i, best[i]]) if similarity is not None else None)
        for i in range(len(boxes))
    ]


def _photograph(predictor: InstancePredictor, photo: Decoded, known: Boxes) -> Photograph:
    images, valid = network_input([photo], predictor.device)
    scale = np.array([photo.image.shape[1] / photo.size_hw[1], photo.image.shape[0] / photo.size_hw[0]] * 2)
    boxes = torch.from_numpy(known.boxes_xyxy * scale).float()
    labels = torch.from_numpy(known.labels)
    device = predictor.device
    return Photograph(images=images, valid=valid, boxes_xyxy=boxes.to(device), labels=labels.to(device))


def _matched(total: Tensor) -> Tensor:
    """The candidate of each box: no two boxes share one, unless there are too few."""
    best = total.argmax(1)
    rows, columns = match_best(total, above=-5.0)
    best[rows] = columns
    return best


def _fallback(masks: Tensor, areas: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """A mask that is empty inside its box gives way to the inscribed ellipse, just above the lowest level and so of poor quality."""
    empty = (masks * areas).flatten(1).amax(1) < LEVELS[0]
    ellipse = ellipse_masks(boxes, size_hw, MASK_STRIDE) | areas & (areas.flatten(1).sum(1) < 4)[:, None, None]
    return torch.where(empty[:, None, None], ellipse.to(masks.dtype) * (LEVELS[0] + 0.01), masks)


def _similarity(
    disparity: np.ndarray | None, photo: Decoded, size_hw: tuple[int, int], theta: float, device: torch.device
) -> Tensor | None:
    if disparity is None:
        return None
    height, width = photo.image.shape[:2]
    values = torch.from_numpy(np.asarray(disparity, np.float32)).to(device)[None, None]
    mode = {"mode": "bilinear", "align_corners": False} if torch.isfinite(values).all() else {"mode": "nearest-exact"}
    content = F.interpolate(values, size=(height, width), **mode)
    padded = F.pad(content, (0, size_hw[1] - width, 0, size_hw[0] - height), value=torch.nan)
    valid = torch.zeros(1, *size_hw, dtype=torch.bool, device=device)
    valid[:, :height, :width] = True
    return right_similarity(padded, valid, theta=theta)[0]


def _cut(mask: Tensor, box_xyxy: np.ndarray, photo: Decoded, depth: float | None) -> BoxMask:
    """The mask inside its box at the photo's size, at the level nearest to 0.5 at which it fills the box about as well as at any."""
    window = pixels_of(box_xyxy, photo.size_hw)
    probability = _resampled(mask, window, photo)
    found = {level: tight_agreement(probability > level, window, box_xyxy) for level in LEVELS}
    least = max(found.values()) - TOLERANCE
    level = min((level for level in LEVELS if found[level] >= least), key=lambda level: abs(level - 0.5))
    agreement = found[level]
    inside = probability > level
    if not inside.any():
        inside, agreement = probability >= probability.max(), 0.0
    return BoxMask(mask=inside, window=window, quality=quality_of(probability, inside, agreement, depth))


def pixels_of(box_xyxy: np.ndarray, size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns whose pixel centres lie in the box; of a box thinner than a pixel the one it lies on."""
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    spans = []
    for low, high, side in ((y0, y1, size_hw[0]), (x0, x1, size_hw[1])):
        first, last = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5))
        if last <= first:
            first = min(int(low), side - 1)
            last = first + 1
        spans.append(slice(max(first, 0), min(last, side)))
    return spans[0], spans[1]


def _resampled(mask: Tensor, window: tuple[slice, slice], photo: Decoded) -> np.ndarray:
    """The stride-4 map "h w" at the pixels of `window`: cell c is the network's pixel 4 c + 2, and pixel centres scale."""
    axes = []
    for span, cells, seen, full in zip(window, mask.shape, photo.image.shape[:2], photo.size_hw, strict=True):
        pixels = torch.arange(span.start, span.stop, device=mask.device, dtype=torch.float32)
        there = ((pixels + 0.5) * (seen / full) - 0.5 - MASK_STRIDE // 2) / MASK_STRIDE
        axes.append(2 * there / max(cells - 1, 1) - 1)
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack((xs, ys), -1)[None]
    return F.grid_sample(mask[None, None], grid, padding_mode="border", align_corners=True)[0, 0].cpu().numpy()

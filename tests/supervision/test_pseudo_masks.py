"""What a pseudo mask teaches, and how its quality and its neighbours count, by hand."""

import pytest
import torch

from depthbox.ops.pairwise import pairwise_nll
from depthbox.supervision.parts.assignment import Positives
from depthbox.supervision.parts.pseudo_masks import (
    PseudoMasks,
    mask_affinity,
    mask_quality,
    pseudo_mask,
    targets_of,
)


def test_a_positive_learns_from_the_mask_of_its_own_box():
    pseudo = [
        PseudoMasks(
            masks=torch.full((2, 2, 2), 0.25) * torch.tensor([1, 2])[:, None, None], confidence=torch.tensor([1.0, 0.0])
        ),
        PseudoMasks(masks=torch.zeros(0, 2, 2), confidence=torch.zeros(0)),
        PseudoMasks(masks=torch.full((1, 2, 2), 0.75), confidence=torch.tensor([0.5])),
    ]
    index = torch.tensor
    positives = Positives(
        image_index=index([0, 0, 2]), point_index=index([0, 0, 0]), object_index=index([1, 0, 0]),
        boxes_xyxy=torch.zeros(3, 4), labels=index([0, 0, 0]),
    )  # fmt: skip
    masks, confidence = targets_of(positives, pseudo)
    assert masks[:, 0, 0].tolist() == [0.5, 0.25, 0.75] and confidence.tolist() == [0.0, 1.0, 0.5]


def test_pseudo_mask_is_the_mean_dice_of_the_kept():
    logits, targets = torch.randn(3, 4, 5), torch.rand(3, 4, 5)
    x = logits.sigmoid()
    dice = [1 - 2 * (a * t).sum() / ((a**2).sum() + (t**2).sum() + 1e-5) for a, t in zip(x, targets, strict=True)]
    found = pseudo_mask(logits, targets, torch.tensor([1.0, 0.0, 0.5]))
    assert found.item() == pytest.approx(float(dice[0] + 0.5 * dice[2]) / 2, rel=1e-5)
    assert pseudo_mask(logits, targets, torch.zeros(3)) == 0


def test_mask_quality_by_hand():
    masks = torch.tensor([[[0.9, 0.7], [0.4, 0.1]], [[0.1, 0.1], [0.1, 0.1]]])
    assert mask_quality(masks).tolist() == pytest.approx([0.8, 0.0])


def test_mask_affinity_by_the_eight_neighbours():
    rng = torch.Generator().manual_seed(2)
    logits, targets = torch.randn(2, 7, 6, generator=rng), (torch.rand(2, 7, 6, generator=rng) > 0.5).float()
    boxes = torch.zeros(2, 7, 6, dtype=torch.bool)
    boxes[0, 1:5, 1:6], boxes[1, 2:7, 0:4] = True, True
    valid = torch.ones(2, 7, 6, dtype=torch.bool)
    valid[0, :, 5:] = False
    smooth = torch.stack([(t + _mean3(t)) / 2 for t in targets])
    expected = 0.0
    for n, c in ((0, 1.0), (1, 0.4)):
        total = count = 0.0
        for y, x in boxes[n].nonzero().tolist():
            for dy, dx in ((a, b) for a in (-2, 0, 2) for b in (-2, 0, 2) if a or b):
                if not (0 <= y + dy < 7 and 0 <= x + dx < 6 and valid[n, y + dy, x + dx]):
                    continue
                a, b = smooth[n, y, x], smooth[n, y + dy, x + dx]
                if a * b + (1 - a) * (1 - b) >= 0.5:
                    total += float(pairwise_nll(logits[n, y, x], logits[n, y + dy, x + dx]))
                    count += 1
        expected += c * total / max(count, 1) / 2
    assert mask_affinity(logits, targets, boxes, torch.tensor([1.0, 0.4]), valid=valid).item() == pytest.approx(
        expected, rel=1e-4
    )


def _mean3(values):
    out = torch.zeros_like(values)
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            out[y, x] = values[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean()
    return out

"""Disparity as a third opinion on pseudo masks: which are kept, and where they end."""

import pytest
import torch

from depthbox.core.batch import Views
from depthbox.core.config import vary
from depthbox.ops.masks import box_masks
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.depth_quality import checked_by_depth, depth_quality, refined, relief_quality
from depthbox.supervision.parts.matching import right_similarity
from depthbox.supervision.parts.pseudo_labels import PseudoLabels, full_size

SIZE = (96, 128)
BOX = torch.tensor([[30.0, 20.0, 94.0, 76.0]])


def oval(box: torch.Tensor, *, grown: float = 1.0) -> torch.Tensor:
    """Bool "h w" at stride 4: it reaches all four sides of its box."""
    ys, xs = torch.arange(2, SIZE[0], 4), torch.arange(2, SIZE[1], 4)
    (cx, cy), (w, h) = (box[:2] + box[2:]) / 2, grown * (box[2:] - box[:2]) / 2
    return ((xs - cx) / w).abs() ** 2.5 + ((ys[:, None] - cy) / h).abs() ** 2.5 <= 1


def tilted(out: torch.Tensor, height: float = 0.1) -> torch.Tensor:
    """Disparity "h w" of a tilted ground and something on it."""
    return 0.3 + 0.3 * torch.linspace(0, 1, SIZE[0] // 4)[:, None] + height * out


def labels_of(masks: list[torch.Tensor], boxes: torch.Tensor | None = BOX, *, sure: float = 6.0) -> PseudoLabels:
    n = len(masks)
    logits = torch.stack([torch.where(one, sure, -sure) for one in masks]) if n else torch.zeros(0, 24, 32)
    return PseudoLabels(
        query=torch.arange(n),
        labels=torch.zeros(n, dtype=torch.long),
        class_quality=torch.ones(n),
        mask_quality=torch.ones(n),
        logits=logits,
        boxes_xyxy=boxes,
    )


def views_of(disparity: torch.Tensor) -> Views:
    full = disparity.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
    photo = torch.zeros(1, 3, *SIZE)
    return Views(weak=photo, strong=photo, disparity=full, valid=torch.ones(1, *SIZE, dtype=torch.bool))


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one & other).sum() / (one | other).sum()).item()


@pytest.mark.parametrize("form", ["A", "B"])
def test_a_mask_across_a_depth_edge_agrees_less(form: str) -> None:
    disparity = torch.full((1, 1, 64, 96), 0.2)
    disparity[..., 48:] = 0.25
    similarity = right_similarity(disparity, torch.ones(1, 64, 96, dtype=torch.bool), theta=2.0)[0]
    similarity[:, 12:] = 0.3
    logits = torch.full((2, 16, 24), -6.0)
    logits[0, 4:8, 4:8], logits[1, 4:8, 10:14] = 6.0, 6.0
    inside, across = depth_quality(logits, similarity, (64, 96), form=form)
    assert inside > 0.95 and across < 0.7


@pytest.mark.parametrize("boxes", [BOX, None])
def test_a_mask_of_what_stands_out_agrees_and_one_beside_it_does_not(boxes: torch.Tensor | None) -> None:
    """Whether the teacher says boxes (a detector) or not (queries)."""
    truth = oval(BOX[0])
    beside = box_masks(torch.tensor([[30.0, 20.0, 46.0, 76.0]]), SIZE, 4)[0] & ~truth
    for mask, low, high in ((truth, 0.9, 1.0), (beside, 0.0, 0.1)):
        quality, known = relief_quality(labels_of([mask], boxes), tilted(truth))
        assert known.all() and low <= quality[0] <= high


def test_the_published_quality_is_blind_to_the_ground_beside_an_object() -> None:
    """Why there is another one: smooth ground is at its neighbours' depth as well."""
    ground = torch.zeros(24, 32, dtype=torch.bool)
    ground[16:22, 4:12] = True
    views = views_of(tilted(oval(BOX[0])))
    labels = labels_of([ground], torch.tensor([[16.0, 64.0, 47.0, 87.0]]))
    for form, threshold, kept in (("B", 0.8, 1), ("relief", 0.5, 0)):
        config = vary(PlDcConfig(), {"depth_form": form, "depth_threshold": threshold})
        assert len(checked_by_depth(labels, views, 0, config).labels) == kept


def test_a_mask_of_which_no_depth_is_known_stays_as_it_is() -> None:
    labels = labels_of([oval(BOX[0])])
    views = views_of(torch.full((24, 32), torch.nan))
    config = vary(PlDcConfig(), {"depth_form": "relief", "depth_refine": True})
    kept = checked_by_depth(labels, views, 0, config)
    assert len(kept.labels) == 1 and torch.equal(kept.logits, labels.logits)
    assert torch.equal(kept.boxes_xyxy, labels.boxes_xyxy)


@pytest.mark.parametrize("boxes", [True, False])
def test_refined_masks_and_boxes_are_nearer_to_the_object(boxes: bool) -> None:
    truth = oval(BOX[0])
    drawn = oval(BOX[0], grown=0.75)
    found = torch.tensor([[38.0, 27.0, 86.0, 69.0]]) if boxes else None
    small, surely = labels_of([drawn], found, sure=1.0), labels_of([drawn], found, sure=6.0)
    assert torch.equal(refined(surely, tilted(truth)).logits > 0, surely.logits > 0)  # the surer of both decides
    better = refined(small, tilted(truth))
    assert iou(better.logits[0] > 0, truth) > iou(drawn, truth) + 0.1
    if boxes:
        assert (better.boxes_xyxy - BOX).abs().max() < (small.boxes_xyxy - BOX).abs().max()
        (one,) = full_size(better)
        x0, y0, x1, y1 = better.boxes_xyxy[0].int().tolist()
        assert one[y0:y1, x0:x1].sum() == one.sum()
        assert one[y0].any() and one[y1 - 1].any() and one[:, x0].any() and one[:, x1 - 1].any()
    else:
        assert better.boxes_xyxy is None


def test_a_flat_scene_corrects_nothing_and_no_mask_vanishes() -> None:
    labels = labels_of([oval(BOX[0]), oval(BOX[0], grown=0.5)], BOX.repeat(2, 1))
    better = refined(labels, tilted(oval(BOX[0]), height=0.0))
    assert torch.equal(better.logits > 0, labels.logits > 0)
    noisy = tilted(oval(BOX[0]), height=0.0) + 0.2 * torch.rand(24, 32, generator=torch.Generator().manual_seed(0))
    assert (refined(labels, noisy).logits > 0).flatten(1).any(1).all()


def test_only_what_disparity_knows_is_corrected() -> None:
    """Padding is as unknown as a hole."""
    truth = oval(BOX[0])
    disparity = tilted(truth)
    disparity[:, 20:] = torch.nan
    small = labels_of([oval(BOX[0], grown=0.75)], torch.tensor([[38.0, 27.0, 86.0, 69.0]]), sure=1.0)
    better = refined(small, disparity)
    assert torch.equal(better.logits[..., 20:], small.logits[..., 20:])
    assert not torch.equal(better.logits[..., :20] > 0, small.logits[..., :20] > 0)


def test_without_labels_there_is_nothing_to_say() -> None:
    config = vary(PlDcConfig(), {"depth_form": "relief", "depth_refine": True})
    none, views = labels_of([], torch.zeros(0, 4)), views_of(tilted(oval(BOX[0])))
    assert not len(checked_by_depth(none, views, 0, config).labels)
    some = labels_of([oval(BOX[0])])
    assert checked_by_depth(some, views, 0, PlDcConfig()) is some

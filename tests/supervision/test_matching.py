"""Which teacher mask shows which box: the published scores by hand, and the faults of the references that are not repeated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.supervision.parts.matching import (
    depth_agreement,
    depth_aware_scores,
    depth_known,
    match_best,
    match_greedily,
    right_similarity,
)

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [0.0, 20.0, 10.0, 30.0]])


def test_similarity_to_the_right_is_that_of_full_size_pixels_two_apart():
    disparity = torch.rand(2, 1, 8, 12, generator=torch.Generator().manual_seed(0)) * 0.05
    disparity[1, 0, 2, 6] = torch.nan
    valid = torch.ones(2, 8, 12, dtype=torch.bool)
    valid[1, :, 8:] = False
    found = right_similarity(disparity, valid, theta=2.0)
    assert found.shape == (2, 2, 3)
    for b, (r, y) in ((b, ry) for b in range(2) for ry in enumerate((2, 6))):
        for c, x in enumerate((2, 6, 10)):
            if x + 2 >= 12 or not valid[b, y, x + 2]:
                assert math.isnan(found[b, r, c]) if torch.isnan(disparity[b, 0, y, x]) else found[b, r, c] == 0
                continue
            expected = math.exp(-abs(float(disparity[b, 0, y, x] - disparity[b, 0, y, x + 2])) * 255 / 2)
            assert found[b, r, c].item() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("form", ["A", "B"])
def test_depth_agreement_by_hand(form):
    rng = torch.Generator().manual_seed(1)
    masks, boxes = torch.rand(4, 5, 6, generator=rng), torch.rand(3, 5, 6, generator=rng) > 0.4
    similarity = torch.rand(5, 6, generator=rng)
    similarity[0, 0] = torch.nan
    found = depth_agreement(masks, boxes, similarity, form=form)
    for n in range(3):
        for m in range(4):
            above = below = 0.0
            for y in range(5):
                for x in range(6):
                    q, s = float(boxes[n, y, x]) * float(masks[m, y, x]), float(similarity[y, x])
                    if math.isnan(s):
                        continue
                    below += q
                    above += q * (s > 0.5 or (form == "A" and s < 0.1))
            assert found[n, m].item() == pytest.approx(above / max(below, 1), rel=1e-5)


def test_a_mask_across_a_depth_edge_loses_to_one_that_ends_there():
    similarity = torch.ones(8, 8)
    similarity[:, 3] = 0.3
    box = torch.ones(1, 8, 8, dtype=torch.bool)
    whole, left = torch.ones(8, 8), torch.zeros(8, 8)
    left[:, :3] = 1
    agreement = depth_agreement(torch.stack((whole, left)), box, similarity, form="B")
    assert agreement[0, 1] == 1 > agreement[0, 0]


def test_the_score_is_the_stated_mixture():
    detected = BOXES + 2
    scores, agreement = torch.tensor([0.9, 0.5, 0.1]), torch.rand(3, 3)
    found = depth_aware_scores(BOXES, detected, scores, agreement, box=0.1, depth=0.3)
    overlap = 64 / 136
    assert found[0, 0].item() == pytest.approx(
        0.1 * (overlap - (144 - 136) / 144) + 0.3 * float(agreement[0, 0]) + 0.6 * 0.9
    )


def test_each_box_and_each_detection_is_used_once_and_weak_pairs_are_let_go():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.85, 0.2, 0.1], [0.4, 0.3, 0.2]])
    rows, columns = match_best(scores, above=0.5)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)], (
        "the total counts, not the first"
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_any_number_of_boxes_and_detections(boxes, detections, seed):
    scores = torch.rand(boxes, detections, generator=torch.Generator().manual_seed(seed))
    rows, columns = match_best(scores, above=0.5)
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) <= min(boxes, detections)
    assert (scores[rows, columns] > 0.5).all()


def test_greedy_does_not_retake_what_detection_0_has_taken():
    """The reference asks `> 0` for "free", so index 0 counts as free for ever."""
    detected = torch.stack((BOXES[0] + 0.1, BOXES[0] + 0.5, BOXES[1] + 1))
    rows, columns = match_greedily(BOXES, detected, torch.tensor([0.9, 0.8, 0.7]))
    assert dict(zip(columns.tolist(), rows.tolist(), strict=True)) == {0: 0, 2: 1}


def test_greedy_starts_with_the_most_confident_and_asks_for_half_an_overlap():
    detected = torch.stack((BOXES[0] + 1, BOXES[0], BOXES[2] + torch.tensor([0.0, 6.0, 0.0, 6.0])))
    rows, columns = match_greedily(BOXES, detected, torch.tensor([0.9, 0.5, 0.8]))
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


def test_boxes_without_area_are_matched_to_nothing_and_hold_up_nobody():
    """Their gIoU is 0 / 0; scipy refuses a matrix with a NaN."""
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    boxes, detected = torch.cat((BOXES, point)), torch.cat((point, BOXES + 0.1))
    scores = depth_aware_scores(boxes, detected, torch.full((4,), 0.9), torch.ones(4, 4), box=0.1, depth=0.3)
    assert scores.isnan().any()
    rows, columns = match_best(scores, above=-5.0)
    pairs = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    assert pairs == {0: 1, 1: 2, 2: 3}
    rows, columns = match_greedily(boxes, detected, torch.full((4,), 0.9))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs


def test_a_detection_that_is_not_finite_is_never_matched():
    scores = torch.tensor([[math.nan, 0.6], [math.nan, 0.9], [math.inf, 0.7]])
    rows, columns = match_best(scores, above=0.5)
    assert (rows.tolist(), columns.tolist()) == ([1], [1])
    rows, columns = match_greedily(BOXES[:1], BOXES[:1].repeat(2, 1), torch.tensor([math.nan, 0.4]))
    assert (rows.tolist(), columns.tolist()) == ([0], [1])


@pytest.mark.parametrize(
    ("scores", "pairs"),
    [
        ([[math.nan, 0.9]], {0: 1}),
        ([[math.nan], [0.9]], {1: 0}),
        ([[0.9, 0.6], [0.7, math.nan]], {0: 0}),
        ([[0.9, 0.1], [0.2, math.nan]], {0: 0}),
        ([[math.nan, math.nan]], {}),
    ],
)
def test_a_pair_that_is_not_finite_takes_nobody_else_s_place(scores, pairs):
    rows, columns = match_best(torch.tensor(scores), above=0.5)
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == pairs


def test_disparity_is_known_in_a_box_by_any_of_its_cells():
    similarity = torch.full((2, 3), math.nan)
    similarity[0, 0] = 0.2
    boxes = torch.zeros(2, 2, 3, dtype=torch.bool)
    boxes[0, :, :2] = boxes[1, 1] = True
    assert depth_known(boxes, similarity).tolist() == [True, False]

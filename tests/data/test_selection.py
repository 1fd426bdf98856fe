"""Farthest points in a plane where the answer can be seen, and a disagreement that looks where it should."""

from pathlib import Path

import numpy as np
import pytest
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.errors import UsageError
from depthbox.data.selection import depth_disagreement, flattened, select

CORNERS = np.array([[0.0, 0.0], [0.1, 0.0], [10.0, 0.0], [10.0, 0.1], [0.0, 9.0], [10.0, 8.0]])


def test_one_of_each_corner_before_a_neighbour():
    picks = select(CORNERS, 3, labelled=[0])
    assert [pick.index for pick in picks] == [5, 4, 2]
    assert picks[0].distance == pytest.approx(np.hypot(10, 8)) and picks[0].disagreement == 0


def test_disagreement_decides_where_it_weighs_enough():
    extra = np.array([0, 0.02, 0, 0, 0, 0])
    assert select(CORNERS, 1, labelled=[0], disagreement=extra)[0].index == 1
    assert select(CORNERS, 1, labelled=[0], disagreement=extra, weight=10)[0].index == 5


def test_the_first_is_drawn_by_the_seed_and_repeats():
    starts = {select(CORNERS, 1, seed=seed)[0].index for seed in range(20)}
    assert len(starts) > 3 and select(CORNERS, 4, seed=3) == select(CORNERS, 4, seed=3)
    assert select(CORNERS, 1)[0].distance == np.inf


@pytest.mark.parametrize("seed", [42, 43, 44])
def test_the_first_is_the_published_one(shared: Path, seed: int):
    golden = golden_values(shared, "subsets_schedules", folder="self_supervised_depth")
    (pick,) = select(np.zeros((2975, 1)), 1, seed=seed)
    assert pick.index == int(golden[f"selection_start_seed{seed}"])


def test_a_seed_that_cannot_be_drawn_by_is_said():
    with pytest.raises(UsageError, match="seed=-1: allowed are 0 to 4294967295"):
        select(CORNERS, 1, seed=-1)


def test_all_are_chosen_once_and_no_more_than_there_are():
    assert sorted(pick.index for pick in select(CORNERS, 5, labelled=[2])) == [0, 1, 3, 4, 5]
    with pytest.raises(UsageError, match="6 images to choose of 6, 1 of which"):
        select(CORNERS, 6, labelled=[2])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 12))
def test_greedy_by_definition(seed: int, images: int):
    features = np.random.default_rng(seed).normal(size=(images, 4))
    chosen = [0]
    for pick in select(features, images - 1, labelled=[0]):
        gaps = np.linalg.norm(features[:, None] - features[chosen], axis=-1).min(1)
        assert pick.distance == pytest.approx(gaps.max(), abs=1e-6) and gaps[pick.index] == pytest.approx(gaps.max())
        chosen.append(pick.index)


def test_channels_count_alike():
    maps = np.random.default_rng(0).normal(size=(20, 3, 4, 8)) * np.array([1, 100, 0.01])[:, None, None]
    parts = flattened(maps).reshape(20, 3, -1)
    assert np.allclose(parts.mean((0, 2)), 0) and np.allclose(parts.std((0, 2), ddof=1), 1)
    assert flattened(np.ones((2, 1, 2, 2))).tolist() == [[0.0] * 4] * 2


def test_disagreement_far_away_and_below_does_not_count():
    teacher = np.full((100, 50), 0.5)
    student = teacher.copy()
    student[90:] = 1
    teacher[:20] = 0.01
    student[:23] = 0.9
    assert depth_disagreement(student, teacher) == 0
    student[40, 25] = 1
    assert depth_disagreement(student, teacher) == pytest.approx((np.log(2) - np.log(1.5)) / 5000)

"""Step n is a pure function of the seed: every image once a pass, the same global batch on any number of workers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.errors import UsageError
from depthbox.data.plan import Plan
from depthbox.data.source import SPARES


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_every_image_once_a_pass(images, batch_size, seed):
    plan = Plan(images=images, batch_size=batch_size, seed=seed)
    passes = 3
    places = [int(i) for step in range(-(-images * passes // batch_size)) for i in plan.indices(step)]
    for start in range(0, passes * images, images):
        assert sorted(places[start : start + images]) == list(range(images))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8))
def test_shares_partition_the_batch(world_size, per_worker):
    plan = Plan(images=100, batch_size=world_size * per_worker, seed=0)
    slots = [slot for rank in range(world_size) for slot in plan.share(rank, world_size)]
    assert slots == list(range(plan.batch_size))
    assert {len(plan.share(rank, world_size)) for rank in range(world_size)} == {per_worker}


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(UsageError, match=r"batch_size=8 does not divide among workers=3; take a multiple of 3"):
        Plan(images=9, batch_size=8, seed=0).share(0, 3)


def test_any_step_can_be_asked_first():
    plan = Plan(images=17, batch_size=4, seed=1)
    forwards = [plan.indices(step).tolist() for step in range(60)]
    assert [Plan(images=17, batch_size=4, seed=1).indices(step).tolist() for step in reversed(range(60))] == forwards[
        ::-1
    ]
    assert len({tuple(sorted(step)) for step in forwards}) > 30, "passes are shuffled anew"
    assert forwards[:4] != [Plan(images=17, batch_size=4, seed=2).indices(step).tolist() for step in range(4)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 8), st.integers(0, 3))
def test_grouping_by_shape_loses_no_photo(images, batch_size, seed):
    plan = Plan(
        images=images, batch_size=batch_size, seed=seed, aspects=tuple((i * 37) % 11 / 5 for i in range(images))
    )
    places = [int(i) for step in range(-(-images * 3 // batch_size)) for i in plan.indices(step)]
    for start in range(0, 3 * images, images):
        assert sorted(places[start : start + images]) == list(range(images))


@pytest.mark.parametrize("images", [128, 120, 83])
def test_photos_of_like_shape_share_a_step(images):
    aspects = tuple(0.5 + 1.5 * ((i * 37) % images) / images for i in range(images))

    def mean_span(plan: Plan) -> float:
        rows = [[aspects[i] for i in plan.indices(step)] for step in range(40)]
        return sum(max(row) - min(row) for row in rows) / len(rows)

    mixed = mean_span(Plan(images=images, batch_size=8, seed=0))
    assert mean_span(Plan(images=images, batch_size=8, seed=0, aspects=aspects)) < 0.4 * mixed


def test_the_order_of_grouped_steps_is_drawn():
    aspects = tuple(range(1, 65))
    narrowest = {
        min(range(8), key=lambda s: min(Plan(images=64, batch_size=8, seed=seed, aspects=aspects).indices(s)))
        for seed in range(8)
    }
    assert len(narrowest) > 2


@pytest.mark.parametrize("images", [*range(1, 12), 60, 1000])
def test_stand_ins_are_far_away_and_none_is_tried_twice_before_all_have_been(images: int):
    plan = Plan(images=images, batch_size=1, seed=0)
    for index in range(images):
        tried = [plan.spare(index, attempt) for attempt in range(SPARES + 1)]
        assert tried[0] == index and len(set(tried)) == min(images, SPARES + 1)
        if images >= 60:
            assert min(abs(a - index) for a in tried[1:]) > images / 8

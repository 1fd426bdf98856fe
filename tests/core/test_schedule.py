"""Schedules: step -> factor, bounded, in order, and what the published ones say."""

from itertools import pairwise
from pathlib import Path

import pytest
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.schedule import constant, cosine, poly, ramp, scaled, warm_up_cosine


def test_constant_and_scaled():
    assert [constant(0.3)(s) for s in (0, 10**6)] == [0.3, 0.3]
    assert [scaled(ramp(0, 4), 2.0)(s) for s in (0, 2, 9)] == [0.0, 1.0, 2.0]


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(0, 200_000))
def test_a_ramp_rises_from_0_to_1(start, length, step):
    value = ramp(start, length)(step)
    assert 0 <= value <= ramp(start, length)(step + 1) <= 1
    assert value == 0 or step >= start
    assert value == 1 or step <= start + length


def test_the_depth_ramp_starts_where_the_colour_ramp_ends():
    colour, depth = ramp(0, 100), ramp(100, 100)
    assert [(colour(s), depth(s)) for s in (0, 50, 100, 150, 200, 900)] == [
        (0, 0),
        (0.5, 0),
        (1, 0),
        (1, 0.5),
        (1, 1),
        (1, 1),
    ]
    assert [ramp(5, 0)(s) for s in (4, 5, 6)] == [0, 1, 1]


def test_a_cosine_falls_to_its_last_value():
    falling = cosine(10, last=0.1)
    assert falling(0) == 1 and falling(10) == falling(99) == pytest.approx(0.1) and falling(5) == pytest.approx(0.55)
    assert all(a >= b for a, b in pairwise(map(falling, range(12))))
    assert cosine(0)(3) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 300))
def test_the_learning_rate_warms_up_once_and_never_reaches_zero(steps, warm_up):
    rates = [warm_up_cosine(steps, warm_up=min(warm_up, steps))(s) for s in range(0, steps, max(1, steps // 50))]
    assert all(0 < rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_learning_rate_in_numbers():
    rate = warm_up_cosine(100, warm_up=10)
    assert [rate(0), rate(9), rate(10), rate(100)] == pytest.approx([0.1, 1.0, 1.0, 0.01])


def test_poly_as_published(shared: Path):
    golden = golden_values(shared, "subsets_schedules", folder="self_supervised_depth")
    found = [poly(24_000)(step) for step in golden["poly_iters"].tolist()]
    assert found == pytest.approx(golden["poly_factor_max24000"].tolist(), rel=1e-6)
    assert poly(24_000)(24_000) == poly(24_000)(30_000) == 1e-6

"""Numbers checked against scipy and by hand, and what holds for any values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from depthbox.report.statistics import difference, estimate, holm

THREE = [0.31, 0.34, 0.29]
NUMBERS = st.floats(-1, 1).map(lambda value: round(value, 6))


def test_mean_and_spread_by_hand():
    found = estimate([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.sd == pytest.approx(math.sqrt(7))


def test_one_and_two_seeds_have_no_interval_and_none_has_no_estimate():
    one, two = estimate([0.3]), estimate([0.3, 0.4])
    assert (one.sd, one.interval, two.interval) == (None, None, None)
    assert two.sd == pytest.approx(0.1 / math.sqrt(2))
    assert estimate([]) is None


def test_the_interval_is_scipys_bca_and_the_same_every_time():
    values = [0.30, 0.34, 0.29, 0.41, 0.33, 0.37]
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=0).confidence_interval
    assert estimate(values).interval == pytest.approx(tuple(expected))
    assert estimate(values) == estimate(values)


def test_the_interval_of_twenty_normal_values_covers_their_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [
        low <= 0.5 <= high for low, high in (estimate(rng.normal(0.5, 0.1, 20).tolist()).interval for _ in range(60))
    ]
    assert 0.85 < np.mean(inside) <= 1.0


def test_equal_values_are_a_point():
    found = estimate([0.2, 0.2, 0.2])
    assert (found.sd, found.interval) == (pytest.approx(0.0, abs=1e-12), (0.2, 0.2))


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=3, max_size=6))
def test_the_interval_lies_within_the_values_and_is_finite(values):
    found = estimate(values)
    low, high = found.interval
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert math.isfinite(found.sd)


def test_what_was_not_scored_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        estimate([0.3, math.nan])


def test_the_paired_difference_is_scipys_paired_t_test():
    base = dict(enumerate(THREE))
    row = {0: 0.37, 1: 0.42, 2: 0.33, 9: 0.9}
    found = difference(row, base)
    expected = stats.ttest_rel([0.37, 0.42, 0.33], THREE)
    low, high = expected.confidence_interval()
    assert found.n == 3 and found.mean == pytest.approx(0.06)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx((low, high))


def test_only_shared_seeds_count():
    assert difference({1: 0.5}, {0: 0.4}) is None
    alone = difference({0: 0.5, 1: 0.7}, {0: 0.4})
    assert (alone.n, alone.interval, alone.p) == (1, None, None)
    assert alone.mean == pytest.approx(0.1)
    assert difference({0: 0.5}, {0: 0.5}).p is None


def test_differences_without_spread_claim_nothing():
    base = dict(enumerate(THREE))
    same = difference(base, base)
    assert (same.mean, same.interval, same.p) == (0.0, (0.0, 0.0), 1.0)
    shifted = difference({seed: value + 0.1 for seed, value in base.items()}, base)
    assert shifted.mean == pytest.approx(0.1) and shifted.p is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=6))
def test_a_difference_turns_its_sign_with_its_rows_and_agrees_with_its_interval(pairs):
    row, base = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    there, back = difference(row, base), difference(base, row)
    assert there.mean == pytest.approx(-back.mean)
    assert there.p == (None if back.p is None else pytest.approx(back.p))
    if there.p is not None and there.interval != (0.0, 0.0):
        low, high = there.interval
        assert 0 <= there.p <= 1
        assert (there.p < 0.05) == (low > 0 or high < 0) or there.p == pytest.approx(0.05)


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, which must not fall: .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == [] and holm([None]) == [None]


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    known = [(p, c) for p, c in zip(p_values, corrected, strict=True) if p is not None]
    assert [c is None for c in corrected] == [p is None for p in p_values]
    assert all(p <= c <= min(1.0, p * len(known)) + 1e-12 for p, c in known)
    assert [c for _, c in sorted(known)] == sorted(c for _, c in known)

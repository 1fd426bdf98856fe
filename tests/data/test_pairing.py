"""Matching geometry sampling: the formula, the choice among few, the plan that uses it."""

from dataclasses import replace

import numpy as np
import pytest

from depthbox.core.domains import domain_pairs
from depthbox.core.rng import generator
from depthbox.data.mixture import MixedPlan, Part
from depthbox.data.pairing import CANDIDATES, GeometryPlan, geometry_distance, matching
from depthbox.data.plan import Plan


def test_the_distance_is_that_of_log_disparity_between_the_zeroed_rows():
    target, other = np.zeros((512, 8)), np.zeros((512, 8))
    other[:80], other[412:] = 1, 1
    assert geometry_distance(target, other[None]) == 0
    other[80:412] = 0.5
    assert geometry_distance(target, other[None]) == pytest.approx(np.log(1.5) * 332 / 512, rel=1e-5)
    half = other.copy()
    half[:, :4] = np.nan
    assert geometry_distance(target, half[None]) == pytest.approx(np.log(1.5) * 332 / 512, rel=1e-5)
    assert geometry_distance(target, np.full((1, 512, 8), np.nan)) == np.inf


def test_the_best_of_five_of_any_set_and_always_the_best_of_few():
    rng = np.random.default_rng(0)
    target, others = rng.random((16, 16)), rng.random((40, 16, 16))
    others[7] = target
    found = [matching(target, others, generator("t", i)) for i in range(200)]
    assert found == [matching(target, others, generator("t", i)) for i in range(200)]
    assert found.count(7) == pytest.approx(200 * CANDIDATES / 40, abs=15) and len(set(found)) > 15
    assert all(matching(target, others[5:9], generator("t", i)) == 2 for i in range(20))
    unread = np.full((3, 16, 16), np.nan)
    assert matching(target, unread, generator("t", 0)) in (0, 1, 2)


def a_plan(labels: int, none: int, sources: int) -> GeometryPlan:
    members = {"labels": np.arange(6), "none": np.arange(6, 20), "source": np.arange(20, 32)}
    counts = {"labels": labels, "none": none, "source": sources}
    parts = [
        Part(
            word=word, members=members[word], plan=Plan(images=len(members[word]), batch_size=count, seed=3, part=word)
        )
        for word, count in counts.items()
        if count
    ]
    return GeometryPlan(parts=tuple(parts), seed=3)


@pytest.mark.parametrize("counts", [(2, 2, 4), (2, 2, 2), (2, 0, 4)])
def test_a_plan_draws_sources_to_match_and_targets_as_ever(counts: tuple[int, int, int]):
    plan = a_plan(*counts)
    values = np.random.default_rng(1).random(32)
    outlines = np.ones((32, 32, 64)) * values[:, None, None]
    paired = replace(plan, outlines=outlines.astype(np.float16))
    gaps: dict[str, list[float]] = {"paired": [], "random": []}
    for step in range(30):
        words = [plan.parts[n].word for n in plan._slots()]
        ours, plain = paired.indices(step), plan.indices(step)
        assert np.array_equal(plain, MixedPlan.indices(plan, step)) and np.array_equal(ours, paired.indices(step))
        target = np.array(words) != "source"
        assert np.array_equal(ours[target], plain[target]) and (ours[~target] >= 20).all()
        for name, indices in (("paired", ours), ("random", plain)):
            firsts = {s: t for s, t in reversed(domain_pairs(words))}
            gaps[name] += [abs(values[indices[s]] - values[indices[t]]) for s, t in firsts.items()]
    assert np.mean(gaps["paired"]) < 0.5 * np.mean(gaps["random"])


def test_ranks_pair_within_their_share_as_the_whole_batch_does():
    words = ["labels", "none", "source", "source", "labels", "none", "source", "source"]
    halves = [[(s + shift, t + shift) for s, t in domain_pairs(words[:4])] for shift in (0, 4)]
    assert halves[0] + halves[1] == domain_pairs(words)
    few = ["labels", "none", "source"] * 2
    halves = [[(s + shift, t + shift) for s, t in domain_pairs(few[:3])] for shift in (0, 3)]
    assert halves[0] + halves[1] == domain_pairs(few)

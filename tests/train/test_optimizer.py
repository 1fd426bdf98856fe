"""The learning rate of a run: a cosine, or the steps of a paper; a schedule that cannot be is refused."""

from dataclasses import replace

import pytest
from torch import nn

from depthbox.core.errors import UsageError
from depthbox.experiment import Experiment, ScheduleConfig, name_of
from depthbox.recipes import box_depth
from depthbox.train.optimizer import build_optimizer, learning_rate


def test_steps_drop_the_rate_to_a_tenth_at_each_fraction_of_the_run():
    rate = learning_rate(ScheduleConfig(steps=90, warm_up=0.1, decay="steps"))
    assert [rate(step) for step in (0, 8, 59, 60, 79, 80, 89)] == pytest.approx([1 / 9, 1, 1, 0.1, 0.1, 0.01, 0.01])
    once = learning_rate(ScheduleConfig(steps=40, warm_up=0.0, decay="steps", decay_at=(0.75,)))
    assert [once(step) for step in (0, 29, 30, 39)] == pytest.approx([1, 1, 0.1, 0.1])
    assert learning_rate(ScheduleConfig(steps=90))(60) not in (1.0, 0.1), "a cosine unless asked"


def test_poly_is_the_published_factor_of_the_whole_run_beside_the_warm_up():
    rate = learning_rate(ScheduleConfig(steps=100, warm_up=0.0, decay="poly"))
    assert [rate(step) for step in (0, 1, 50, 99)] == [(1 - step / 100) ** 0.9 for step in (0, 1, 50, 99)]
    assert rate(100) == 1e-6, "never 0"
    warm = learning_rate(ScheduleConfig(steps=100, warm_up=0.1, decay="poly"))
    assert warm(4) == pytest.approx(0.5 * rate(4)) and warm(9) == rate(9)


def test_a_schedule_that_cannot_be_is_refused():
    for settings, words in (
        ({"decay_at": (0.5,)}, "decay_at has no effect on schedule.decay=cosine; set schedule.decay=steps"),
        ({"decay": "poly", "decay_at": (0.5,)}, "decay_at has no effect on schedule.decay=poly"),
        ({"decay": "steps", "decay_at": (0.5, 60_000.0)}, "takes fractions of the run"),
        ({"decay": "steps", "decay_at": (0.0,)}, "takes fractions of the run"),
    ):
        with pytest.raises(UsageError, match=words):
            build_optimizer(nn.Linear(1, 1), ScheduleConfig(**settings))


def test_finished_runs_with_a_cosine_keep_their_name_and_steps_have_another():
    cosine: Experiment = box_depth()
    assert name_of(cosine) == "62a01cc5de3c09f8"
    assert name_of(replace(cosine, schedule=replace(cosine.schedule, decay="steps"))) != name_of(cosine)

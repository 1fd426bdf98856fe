"""A cluster may have enough in sum and no machine with room: Ray would wait for ever."""

from pathlib import Path

import pytest
from tiny_data import tiny_experiment

from depthbox.core.config import vary
from depthbox.core.errors import InputError
from depthbox.train.resources import plan_resources


def plan(workers: int, worker_cpus: float, *, depth: str = "builtin"):
    experiment = tiny_experiment(Path("data"), Path("out"), launcher="ray")
    changed = {"workers": workers, "ray.worker_cpus": worker_cpus, "depth.source": depth}
    return plan_resources(vary(experiment, changed), cluster={"CPU": 64.0})


def test_what_fits_machine_by_machine_is_taken() -> None:
    plan(2, 1.5).check_room([{}, {"CPU": 2.0}, {"CPU": 2.5}])


@pytest.mark.parametrize(
    ("workers", "cpus", "nodes", "said"),
    [
        (2, 1.5, [2.0, 1.0], "a worker of 1.5 CPU fits no machine beside the others; the machines have 2 . 1 CPU"),
        (2, 1.0, [1.0, 1.0], "a depth actor of 0.25 CPU"),
        (2, 0.7, [1.0, 1.0], "a decode or pack task of 0.5 CPU"),
    ],
)
def test_f18_a_piece_without_room_is_named(workers: int, cpus: float, nodes: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(workers, cpus).check_room([{"CPU": n} for n in nodes])

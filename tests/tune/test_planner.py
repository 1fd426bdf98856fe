"""The planner against simulated clusters: what it lets through is always placed, whatever the order; what cannot fit is refused."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.config import vary
from depthbox.core.errors import InputError
from depthbox.recipes import box_depth
from depthbox.tune.planner import DRIVER_CPUS, KINDS, Piece, plan_sweep, safe

CPUS = st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9, 1.0, 1.5, 2.0, 4.0])
MACHINES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(0, 16).map(float), "GPU": st.integers(0, 4).map(float)}),
    min_size=0,
    max_size=5,
)
PIECES = st.lists(
    st.builds(lambda c, g: Piece(name="p", needs={"CPU": c, "GPU": g}), CPUS, st.sampled_from([0.0, 0.1, 1.0])),
    min_size=1,
    max_size=12,
)
EXPERIMENTS = st.builds(
    lambda launcher, workers, cpus, actors, source, device: vary(
        box_depth(),
        {
            "launcher": launcher, "workers": workers, "ray.worker_cpus": cpus, "ray.depth_actors": actors,
            "depth.source": source, "device": device,
        },
    ),
    st.sampled_from(["local", "ray"]), st.integers(1, 8), CPUS, st.integers(1, 3),
    st.sampled_from(["none", "builtin"]), st.sampled_from(["auto", "cpu", "cuda"]),
)  # fmt: skip


def place_all(pieces: list[Piece], machines: list[dict], choose) -> bool:
    """An adversary's scheduler: each piece goes to whichever machine with room `choose` picks; False when one finds none."""
    free = [dict(machine) for machine in machines]
    for piece in pieces:
        fits = [f for f in free if all(f.get(k, 0.0) + 1e-6 >= piece.needs.get(k, 0.0) for k in KINDS)]
        if not fits:
            return False
        chosen = choose(fits)
        for kind in KINDS:
            chosen[kind] = chosen.get(kind, 0.0) - piece.needs.get(kind, 0.0)
    return True


@settings(max_examples=300, deadline=None)
@given(PIECES, MACHINES, st.data())
def test_what_is_safe_is_placed_in_any_order_on_any_machine(pieces, machines, data) -> None:
    if safe(pieces, machines):
        shuffled = data.draw(st.permutations(pieces))
        assert place_all(shuffled, machines, lambda fits: data.draw(st.sampled_from(fits)))


@settings(max_examples=300, deadline=None)
@given(PIECES, st.integers(0, 16), st.integers(0, 4))
def test_on_one_machine_safe_is_the_sum(pieces, cpus, gpus) -> None:
    sums = {kind: sum(piece.needs.get(kind, 0.0) for piece in pieces) for kind in KINDS}
    assert safe(pieces, [{"CPU": float(cpus), "GPU": float(gpus)}]) == (
        sums["CPU"] <= cpus + 1e-6 and sums["GPU"] <= gpus + 1e-6
    )


@settings(max_examples=300, deadline=None)
@given(EXPERIMENTS, MACHINES, st.integers(1, 64), st.integers(0, 9), st.randoms(use_true_random=False))
def test_a_plan_never_hangs_and_a_refusal_says_why(experiment, machines, trials, most, chance) -> None:
    began = time.monotonic()
    try:
        plan = plan_sweep(experiment, machines=machines, trials=trials, max_concurrent=most)
    except InputError as error:
        assert (
            " of " in str(error) and "next:" in str(error) and ("never fit" in str(error) or "may hang" in str(error))
        )
        plan = None
    assert time.monotonic() - began < 1
    if plan is None:
        return
    assert 1 <= plan.concurrency <= (min(trials, most) if most else trials) and plan.threads >= 1
    pieces = [Piece(name="driver", needs={"CPU": DRIVER_CPUS}), *(list(plan.pieces) * plan.concurrency)]
    for _ in range(5):
        chance.shuffle(pieces)
        assert place_all(pieces, machines, chance.choice)


def test_two_cores_take_two_local_trials_or_one_on_ray() -> None:
    two = [{"CPU": 2.0}]
    local = vary(box_depth(), {"launcher": "local"})
    assert plan_sweep(local, machines=two, trials=8).concurrency == 2
    assert plan_sweep(local, machines=two, trials=8, max_concurrent=1).concurrency == 1
    assert plan_sweep(local, machines=[{"CPU": 1.0}], trials=8).concurrency == 1
    assert plan_sweep(vary(local, {"launcher": "ray"}), machines=two, trials=8).concurrency == 1
    assert plan_sweep(local, machines=two, trials=8, max_concurrent=4).lines()[0] == (
        "2 trials at once (more do not fit; 4 were asked for)"
    )


def test_the_refusal_has_the_arithmetic() -> None:
    wanted = r"a trial asks for 64\.4 CPU and the largest machine has 2; driver 0\.1 \+ trial 64\.4 = 64\.5 of 2 CPU"
    with pytest.raises(InputError, match=wanted):
        plan_sweep(vary(box_depth(), {"launcher": "local", "ray.worker_cpus": 64}), machines=[{"CPU": 2.0}], trials=8)
    on_ray = vary(box_depth(), {"workers": 4})
    wanted = r"driver 0\.1 \+ trial 0\.01 \+ 4 workers 2 \+ depth actor 0\.25 \+ read task 0\.5 = 2\.86 of 2 CPU"
    with pytest.raises(InputError, match=wanted):
        plan_sweep(on_ray, machines=[{"CPU": 2.0}], trials=8)


def test_small_pieces_must_not_be_able_to_take_the_room_of_a_large_one() -> None:
    # 2 and 0.5 of 4 CPUs: but the small one on either machine may leave no room for the large one.
    experiment = vary(box_depth(), {"ray.worker_cpus": 2, "depth.source": "none"})
    assert plan_sweep(experiment, machines=[{"CPU": 4.0}], trials=1).concurrency == 1
    with pytest.raises(InputError, match="may hang"):
        plan_sweep(experiment, machines=[{"CPU": 2.0}, {"CPU": 2.0}], trials=1)

"""How many trials fit at once? Driver, trials, workers, depth actors and data tasks are added up against every machine: Ray itself would wait for ever.

Ray puts a piece wherever it finds room, so adding up is not enough where there are several machines: a plan holds only if no order of placing
can leave a piece without a place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthbox.core.errors import InputError
from depthbox.experiment import Experiment
from depthbox.train.resources import plan_resources

__all__ = ["Piece", "SweepPlan", "plan_sweep", "safe"]

DRIVER_CPUS = 0.1
TRIAL_CPUS_ON_RAY = 0.01
"""The trial only waits for its workers."""
DATA_CPUS = 0.4
"""Of the process, or the part of the loop, that prepares batches with launcher=local."""
SLACK = 1e-6
KINDS = ("CPU", "GPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Something that Ray puts on one machine, whole."""

    name: str
    needs: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """`concurrency` trials at once; `trial` is what Ray reserves for a trial's own process."""

    concurrency: int
    wanted: int
    pieces: Sequence[Piece]
    """Of one trial."""
    machines: Sequence[Mapping[str, float]]
    threads: int

    @property
    def trial(self) -> Mapping[str, float]:
        return self.pieces[0].needs

    def lines(self) -> list[str]:
        fitting = f"{self.concurrency} trials at once" + (
            f" (more do not fit; {self.wanted} were asked for)" if self.concurrency < self.wanted else ""
        )
        return [
            fitting,
            *(_arithmetic(self.pieces, self.machines, kind, self.concurrency) for kind in KINDS),
            f"{self.threads} torch threads a worker",
        ]


def plan_sweep(
    experiment: Experiment, *, machines: Sequence[Mapping[str, float]], trials: int, max_concurrent: int = 0
) -> SweepPlan:
    """The largest number of trials at once, of `trials` or `max_concurrent`, that certainly fits `machines` (Ray's resource names).

    Raises `InputError` with the arithmetic where not even one does.
    """
    pieces = _pieces(experiment, machines)
    wanted = min(trials, max_concurrent or trials)
    low, high = 0, wanted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if safe(_all(pieces, middle), machines) else (low, middle - 1)
    if low == 0:
        raise InputError("resources", "", _cause(pieces, machines), _next_step(experiment))
    cpus = sum(machine.get("CPU", 0.0) for machine in machines)
    largest = max(machine.get("CPU", 0.0) for machine in machines)
    processes = low * (experiment.workers if experiment.launcher == "ray" else 1)
    threads = max(1, int(min(cpus / processes, largest)))
    return SweepPlan(concurrency=low, wanted=wanted, pieces=pieces, machines=machines, threads=threads)


def safe(pieces: Sequence[Piece], machines: Sequence[Mapping[str, float]]) -> bool:
    """Whether every piece finds a machine with room, wherever the others have been put before it.

    A machine refuses a piece of c CPUs and g GPUs only when more than its CPUs - c, or more than its GPUs - g, are taken. So many machines as the
    others could block at most, by CPUs and by GPUs, must be fewer than those that are large enough.
    """
    total = {kind: sum(piece.needs.get(kind, 0.0) for piece in pieces) for kind in KINDS}
    for needs in {tuple(piece.needs.get(kind, 0.0) for kind in KINDS) for piece in pieces}:
        asked = dict(zip(KINDS, needs, strict=True))
        large = [m for m in machines if all(m.get(kind, 0.0) + SLACK >= asked[kind] for kind in KINDS)]
        blocked = sum(
            _most_blocked([m.get(kind, 0.0) - asked[kind] for m in large], total[kind] - asked[kind])
            for kind in KINDS
            if asked[kind] > 0
        )
        if blocked >= len(large):
            return False
    return True


def _most_blocked(free: Sequence[float], others: float) -> int:
    """How many machines, with `free` left beside the piece, the others can fill beyond that, the smallest first."""
    count = 0
    for room in sorted(free):
        others -= room
        if others <= SLACK:
            return count
        count += 1
    return count


def _pieces(experiment: Experiment, machines: Sequence[Mapping[str, float]]) -> list[Piece]:
    cluster = {kind: sum(machine.get(kind, 0.0) for machine in machines) for kind in KINDS}
    asked = experiment.ray
    if experiment.launcher == "local":
        use_gpu = experiment.device == "cuda" or (experiment.device == "auto" and cluster["GPU"] >= 1)
        return [Piece(name="trial", needs={"CPU": round(asked.worker_cpus + DATA_CPUS, 4), "GPU": float(use_gpu)})]
    plan = plan_resources(experiment, cluster=cluster)
    pieces = [Piece(name="trial", needs={"CPU": TRIAL_CPUS_ON_RAY})]
    pieces += [Piece(name="worker", needs=plan.worker)] * experiment.workers
    if experiment.depth.source != "none":
        actor = {"CPU": asked.depth_actor_cpus, "GPU": plan.stream.depth_actor_gpus}
        pieces += [Piece(name="depth actor", needs=actor)] * asked.depth_actors
    return [*pieces, Piece(name="read task", needs={"CPU": asked.task_cpus})]


def _all(pieces: Sequence[Piece], trials: int) -> list[Piece]:
    return [Piece(name="driver", needs={"CPU": DRIVER_CPUS}), *(list(pieces) * trials)]


def _arithmetic(pieces: Sequence[Piece], machines: Sequence[Mapping[str, float]], kind: str, trials: int) -> str:
    """ "driver 0.1 + 2 trials x (trial 0.01 + 2 workers 1) = 2.12 of 4 CPU"."""
    terms = []
    for name in dict.fromkeys(piece.name for piece in pieces):
        same = [piece.needs.get(kind, 0.0) for piece in pieces if piece.name == name]
        if sum(same):
            terms.append(f"{name} {sum(same):g}" if len(same) == 1 else f"{len(same)} {name}s {sum(same):g}")
    one = " + ".join(terms) or "0"
    body = one if trials == 1 else f"{trials} trials x ({one})"
    driver = DRIVER_CPUS if kind == "CPU" else 0.0
    needed = driver + trials * sum(piece.needs.get(kind, 0.0) for piece in pieces)
    there = sum(machine.get(kind, 0.0) for machine in machines)
    return f"{f'driver {driver:g} + ' if driver else ''}{body} = {needed:g} of {there:g} {kind}"


def _cause(pieces: Sequence[Piece], machines: Sequence[Mapping[str, float]]) -> str:
    """Why not even one trial fits: one piece, the sum, or that some order of placing leaves a piece out."""
    for kind in KINDS:
        largest = max((machine.get(kind, 0.0) for machine in machines), default=0.0)
        for piece in pieces:
            if piece.needs.get(kind, 0.0) > largest + SLACK:
                what = f"a {piece.name} asks for {piece.needs[kind]:g} {kind} and the largest machine has {largest:g}"
                return f"the sweep can never fit this cluster: {what}; {_arithmetic(pieces, machines, kind, 1)}"
    for kind in KINDS:
        needed = sum(piece.needs.get(kind, 0.0) for piece in _all(pieces, 1))
        if needed > sum(machine.get(kind, 0.0) for machine in machines) + SLACK:
            return f"the sweep can never fit this cluster: {_arithmetic(pieces, machines, kind, 1)}"
    sums = ", ".join(_arithmetic(pieces, machines, kind, 1) for kind in KINDS)
    return f"one trial may hang on these {len(machines)} machines, where small pieces can take the room of a large one: {sums}"


def _next_step(experiment: Experiment) -> str:
    if experiment.launcher == "local":
        return "lower ray.worker_cpus=, or join more machines"
    return "lower workers=, ray.worker_cpus= or ray.depth_actors=, or join more machines"

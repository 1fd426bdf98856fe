"""Does a run fit the cluster? Every part is added up before anything starts: Ray itself would wait for ever."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthbox.core.errors import InputError
from depthbox.data.shape import StreamShape
from depthbox.experiment import Experiment

__all__ = ["ResourcePlan", "plan_resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePlan:
    """What a run asks of Ray, part by part, and what there is."""

    parts: Mapping[str, Mapping[str, float]]
    """Part -> CPUs and GPUs, all its copies together."""
    cluster: Mapping[str, float]
    worker: Mapping[str, float]
    """Of one training worker."""
    pieces: Sequence[tuple[str, Mapping[str, float]]]
    """What must be on one machine each, in the order in which Ray places it."""
    stream: StreamShape
    use_gpu: bool
    torch_threads: int

    def needed(self, kind: str) -> float:
        return sum(part.get(kind, 0.0) for part in self.parts.values())

    def arithmetic(self, kind: str) -> str:
        terms = [f"{name} {part[kind]:g}" for name, part in self.parts.items() if part.get(kind)]
        return f"{' + '.join(terms) or '0'} = {self.needed(kind):g} of {self.cluster.get(kind, 0):g} {kind}"

    def check(self) -> None:
        """Raise `InputError` with the arithmetic where the cluster is too small."""
        for kind in ("CPU", "GPU"):
            if self.needed(kind) > self.cluster.get(kind, 0) + 1e-6:
                raise InputError(
                    "resources",
                    "",
                    f"the run does not fit this cluster: {self.arithmetic(kind)}",
                    "lower workers=, ray.worker_cpus= or ray.depth_actors=, or join more machines",
                )

    def check_room(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Raise `InputError` where the pieces, the largest first, do not fit machines with these resources one by one."""
        free = [dict(node) for node in nodes]
        for name, piece in self.pieces:
            room = next((n for n in free if all(n.get(k, 0) >= v - 1e-6 for k, v in piece.items())), None)
            if room is None:
                machines = " + ".join(f"{node.get('CPU', 0):g}" for node in nodes if node.get("CPU"))
                wants = ", ".join(f"{value:g} {kind}" for kind, value in piece.items() if value)
                cause = f"{name} of {wants} fits no machine beside the others; the machines have {machines} CPU"
                next_step = (
                    "choose ray.worker_cpus= so that whole workers fill a machine and leave room for ray.task_cpus="
                )
                raise InputError("resources", "", cause, next_step)
            room.update({kind: room.get(kind, 0) - value for kind, value in piece.items()})

    def lines(self) -> list[str]:
        return [self.arithmetic("CPU"), self.arithmetic("GPU"), f"{self.torch_threads} torch threads a worker"]


def plan_resources(experiment: Experiment, *, cluster: Mapping[str, float]) -> ResourcePlan:
    """Add up workers, depth actors and data tasks of an experiment against `cluster` (Ray's resource names)."""
    asked = experiment.ray
    use_gpu = experiment.device == "cuda" or (
        experiment.device == "auto" and cluster.get("GPU", 0) >= experiment.workers
    )
    worker = {"CPU": asked.worker_cpus} | ({"GPU": 1.0} if use_gpu else {})
    with_depth = experiment.depth.source != "none"
    actor_gpus = 0.1 if with_depth and experiment.depth.device == "cuda" else 0.0
    parts = {
        f"{experiment.workers} workers": {k: v * experiment.workers for k, v in worker.items()},
        "a decode or pack task": {"CPU": asked.task_cpus},
    }
    if with_depth:
        parts[f"{asked.depth_actors} depth actors"] = {
            "CPU": asked.depth_actors * asked.depth_actor_cpus,
            "GPU": asked.depth_actors * actor_gpus,
        }
    actor = {"CPU": asked.depth_actor_cpus, "GPU": actor_gpus}
    pieces = [
        *[("a worker", worker)] * experiment.workers,
        *[("a depth actor", actor)] * (asked.depth_actors if with_depth else 0),
        ("a decode or pack task", {"CPU": asked.task_cpus}),
    ]
    stream = StreamShape(
        world_size=experiment.workers,
        task_cpus=asked.task_cpus,
        depth_actors=asked.depth_actors,
        depth_actor_cpus=asked.depth_actor_cpus,
        depth_actor_gpus=actor_gpus,
    )
    threads = (
        max(1, round(cluster.get("CPU", 1) / experiment.workers)) if not use_gpu else max(1, round(asked.worker_cpus))
    )
    return ResourcePlan(
        parts=parts,
        cluster=cluster,
        worker=worker,
        pieces=pieces,
        stream=stream,
        use_gpu=use_gpu,
        torch_threads=asked.threads or threads,
    )

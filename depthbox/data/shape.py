"""What a run's data stages are given: how to make the depth stage, and the share of a cluster; free of Ray and torch."""

from dataclasses import dataclass

from depthbox.depth.actor import DepthActor

__all__ = ["DepthSetup", "StreamShape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamShape:
    """How much of the cluster the stream takes: CPUs of a decode or pack task, number, CPUs and GPUs of the depth actors."""

    world_size: int
    task_cpus: float
    depth_actors: int
    depth_actor_cpus: float
    depth_actor_gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSetup:
    """How to make the depth stage; None in its place means a run without depth."""

    spec: str
    cache_folder: str
    device: str
    maps_kind: str
    maps_zero: str

    def actor(self) -> DepthActor:
        return DepthActor(self.spec, self.cache_folder, self.device, 1, self.maps_kind, self.maps_zero)

"""The numbers of using a model. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass

__all__ = ["Matching", "RayShare", "Review"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """S = `box_cost` gIoU + `depth_cost` S_dmatch + the rest of 1 times the detection's score, among the `candidates` locations or queries that fit a
    box best without depth.

    The box is given, so it counts more here than in training, where it tells good detections from bad ones. Without depth `depth_cost` has no effect.
    """

    box_cost: float = 0.5
    depth_cost: float = 0.2
    theta: float = 2.0
    candidates: int = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Masks of a quality below `below` are listed, at most `most` of them."""

    below: float = 0.8
    most: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RayShare:
    """With `--ray`: so many actors, each with its model and so many CPUs (and a GPU with device=cuda)."""

    address: str = ""
    actors: int = 1
    actor_cpus: float = 1.0

"""Stages that build on one another, such as video -> depth network -> cache -> selection -> segmentation: what each is, and in which order.

A stage is its configuration. Where a setting says "{name}" it takes the folder of that stage's results, and comes after it. A stage is named by a digest
of its own settings and of those it builds on, and so is its folder: what has not changed never runs again, and nothing is overwritten.
"""

import graphlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from depthbox.core.config import digest, flatten, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.core.references import filled, references
from depthbox.experiment import PLACES, DepthConfig, Experiment, RayConfig, SemanticDataConfig
from depthbox.stages.selecting import Selection

__all__ = ["CacheFill", "Stage", "Stages"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFill:
    """The disparity of every photo of `data`, target and source, kept at the size that a segmentation run asks for."""

    data: SemanticDataConfig = SemanticDataConfig()
    depth: DepthConfig = DepthConfig()
    launcher: str = "local"
    ray: RayConfig = RayConfig()


Stage = Experiment | Selection | CacheFill


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """`after` adds to what the settings say: stage -> stages that must have ended before it."""

    stages: Mapping[str, Stage]
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    about: str = ""

    def order(self) -> list[str]:
        """Each stage behind those it builds on. Raises `InputError` for a stage that is not there, and for a circle."""
        needs = {name: self._needs(name) for name in self.stages}
        try:
            return list(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            raise InputError(
                "stages", "", f"{' -> '.join(error.args[1])} is a circle", "no stage can come before itself"
            ) from None

    def names(self) -> dict[str, str]:
        """Stage -> the name of its folder: its own, and a digest of its settings and of those of the stages before it."""
        found: dict[str, str] = {}
        for name in self.order():
            config = self.filled(name, lambda other: found[other])
            before = {other: found[other] for other in self._needs(name)}
            text = json.dumps([_own_digest(config), before], sort_keys=True)
            found[name] = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        return found

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.names(), sort_keys=True).encode()).hexdigest()[:16]

    def filled(self, name: str, folder_of: Callable[[str], str]) -> Stage:
        """The stage with every "{other}" in its settings replaced."""
        return filled(self.stages[name], folder_of)

    def placed(self, words: Mapping[str, object]) -> "Stages":
        """With settings of the command line: STAGE.path=value for one, path=value for every stage that has it. Raises `UsageError`."""
        stages = dict(self.stages)
        for path, value in words.items():
            first, _, rest = path.partition(".")
            mine = {first: rest} if first in stages else {n: path for n, one in stages.items() if path in flatten(one)}
            if not mine or "" in mine.values():
                names = ", ".join(stages)
                raise UsageError(
                    f"unknown setting '{path}'; write STAGE.path=value for one of {names}, or a path that a stage has"
                )
            for name, inner in mine.items():
                stages[name] = vary(stages[name], {inner: value})
        return replace(self, stages=stages)

    def _needs(self, name: str) -> tuple[str, ...]:
        needs = tuple(dict.fromkeys((*references(self.stages[name]), *self.after.get(name, ()))))
        if unknown := [other for other in needs if other not in self.stages]:
            there = ", ".join(self.stages)
            raise InputError(f"stage {name}", "", f"builds on '{unknown[0]}', which is no stage", f"there are {there}")
        return needs


def _own_digest(config: Stage) -> str:
    places = (*PLACES, "tracking") if isinstance(config, Experiment) else ("out", "launcher", "ray", *_DEPTH_PLACES)
    return digest(config, without=places)


_DEPTH_PLACES = ("depth.cache", "depth.device", "data.processes")

"""A search: an experiment, the table of settings to search over, and how. Plain values; nothing here knows Ray or Optuna."""

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from depthbox.core.config import digest, vary
from depthbox.core.errors import UsageError
from depthbox.experiment import PLACES, Experiment, name_of

__all__ = ["Choice", "Domain", "LogUniform", "Search", "Uniform"]

Value = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Uniform:
    """Any number of [low, high]; a mutation moves it by a fifth."""

    low: float
    high: float

    def mutated(self, value: Value, draw: random.Random) -> Value:
        return _rounded(min(max(float(value) * draw.choice((0.8, 1.2)), self.low), self.high))


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Any number of [low, high], every order of magnitude as likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise UsageError(f"LogUniform({self.low}, {self.high}): takes 0 < low < high")

    def mutated(self, value: Value, draw: random.Random) -> Value:
        return _rounded(min(max(float(value) * draw.choice((0.8, 1.2)), self.low), self.high))


class Choice:
    """One of some values; a mutation moves to a neighbour."""

    __slots__ = ("values",)

    def __init__(self, *values: Value) -> None:
        if not values:
            raise UsageError("Choice(): takes at least one value")
        self.values = values

    def __repr__(self) -> str:
        return f"Choice{self.values!r}"

    def mutated(self, value: Value, draw: random.Random) -> Value:
        place = self.values.index(value) + draw.choice((-1, 1))
        return self.values[min(max(place, 0), len(self.values) - 1)]


Domain = Uniform | LogUniform | Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """`space` maps dotted paths of `base` to domains; the largest `metric` wins.

    A trial's schedule is cut into `epochs` equal parts, with an evaluation and a checkpoint after each. `scheduler` asha ends a trial that, after
    `grace` epochs, `grace * factor`, ..., is not among the best 1/`factor` of those that came so far; `population` lets `trials` members go on for
    `interval` epochs at a time, after which the worst quarter take over a checkpoint of the best quarter with changed settings; none runs all to
    the end. `max_concurrent` 0 is as many as fit.
    """

    base: Experiment
    space: Mapping[str, Domain]
    metric: str = "mask_ap"
    trials: int = 16
    epochs: int = 8
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    scheduler: Literal["asha", "population", "none"] = "asha"
    grace: int = 1
    factor: int = 3
    interval: int = 2
    seed: int = 0
    max_concurrent: int = 0

    def check(self) -> None:
        """Raises `UsageError` for a number that makes no sense, or a path that the experiment does not have."""
        limits = {"trials": 1, "epochs": 1, "grace": 1, "factor": 2, "interval": 1, "max_concurrent": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise UsageError(f"search.{name}={getattr(self, name)}: takes {least} or more")
        if not self.space:
            raise UsageError("the search space is empty; name at least one setting")
        if self.sampler == "grid":
            self.grid()
        for path, domain in self.space.items():
            ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
            for value in ends:
                vary(self.base, {path: value})

    def placed(self, words: Mapping[str, object]) -> "Search":
        """With other settings of `base`; a setting that is searched over cannot be given."""
        for path in words:
            if path in self.space:
                raise UsageError(f"{path} is searched over: {self.space[path]!r}; it cannot be set")
        return replace(self, base=vary(self.base, words))

    def trial(self, changes: Mapping[str, Value]) -> Experiment:
        """One trial's experiment."""
        every = math.ceil(self.base.schedule.steps / self.epochs)
        rhythm = {"schedule.evaluate_every": every, "schedule.checkpoint_every": every}
        return vary(self.base, {**changes, **rhythm})

    def digest_of(self, changes: Mapping[str, Value]) -> str:
        """Names a trial on every machine: where the data lies does not count."""
        return name_of(_anywhere(self.trial(changes)))

    def step_after(self, epoch: int) -> int:
        """The step that `epoch` of `epochs` ends with."""
        steps = self.base.schedule.steps
        return min(epoch * math.ceil(steps / self.epochs), steps)

    @property
    def digest(self) -> str:
        """Names the search; how many trials, and how many at once, may change on the way."""
        facts = {
            "base": digest(_anywhere(self.base), without=PLACES),
            "space": {path: repr(domain) for path, domain in self.space.items()},
            "how": [self.metric, self.epochs, self.sampler, self.scheduler, self.grace, self.factor, self.interval],
            "seed": self.seed,
            # The members of a population depend on each other.
            "members": self.trials if self.scheduler == "population" else 0,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def grid(self) -> Sequence[dict[str, Value]]:
        """Every combination, in an order that the seed shuffles. Raises `UsageError` for a domain that is no `Choice`."""
        axes = []
        for path, domain in self.space.items():
            if not isinstance(domain, Choice):
                raise UsageError(f"{path}: a grid takes Choice(...), not {domain!r}; or use search.sampler=tpe")
            axes.append(domain.values)
        cells = [dict(zip(self.space, values, strict=True)) for values in itertools.product(*axes)]
        random.Random(self.seed).shuffle(cells)
        return cells


def _anywhere(experiment: Experiment) -> Experiment:
    return replace(experiment, data=replace(experiment.data, root=""))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

"""Warnings about a run that goes wrong in a known way."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from depthbox.experiment import Experiment
from depthbox.models.config import DenseModelConfig
from depthbox.supervision.config import PlDcConfig, SdeConfig

__all__ = ["CollapseWatch", "FlatDepthWatch", "PseudoLabelWatch", "Watch", "watch_of"]

FULL, EMPTY, PATIENCE = 0.95, 0.1, 5
FLAT = 0.05
MANY = 3.0


class Watch(ABC):
    """Says once that the figure `name` is `wrong` in five log lines in a row, after the first third of the run (in all of them, where a run has fewer)."""

    name: ClassVar[str]

    def __init__(self, steps: int, *, log_every: int = 1) -> None:
        self.steps, self.patience = steps, _patience(steps, log_every)
        self._in_a_row, self._said = 0, False

    def look(self, metrics: Mapping[str, float], *, step: int) -> str:
        """The warning, at the one time it is due; else an empty text."""
        if self._said or self.name not in metrics or step < self.steps / 3:
            return ""
        value = metrics[self.name]
        self._in_a_row = self._in_a_row + 1 if self.wrong(value) else 0
        self._said = self._in_a_row >= self.patience
        return f"step {step}: {self.text(value)}" if self._said else ""

    @abstractmethod
    def wrong(self, value: float) -> bool: ...

    @abstractmethod
    def text(self, value: float) -> str: ...


class CollapseWatch(Watch):
    """The masks have become the boxes, or nothing: `mask_box_ratio` above 0.95 or below 0.1."""

    name = "mask_box_ratio"

    def wrong(self, value: float) -> bool:
        return not EMPTY <= value <= FULL

    def text(self, value: float) -> str:
        # Both are at rest where no neighbours differ: a full box as well as next to nothing. A weight too high falls for the one that is nearer.
        what, start = ("so they are the boxes", "a smaller") if value > FULL else ("so there are none", "a larger")
        return (
            f"the masks fill {value:.0%} of their boxes, {what}; lower method.weights.color_affinity or depth_affinity, or take "
            f"{start} method.prior_size, and look at the depth edges in the picture of the run"
        )


class FlatDepthWatch(Watch):
    """Depth from video has become a constant: `disparity_spread` below 0.05."""

    name = "disparity_spread"

    def wrong(self, value: float) -> bool:
        return value < FLAT

    def text(self, value: float) -> str:
        return (
            f"the depth has collapsed to a constant (its spread is {value:.1%} of its mean); does the camera move? "
            "try a larger data.gap, another seed or a lower schedule.learning_rate"
        )


class PseudoLabelWatch(Watch):
    """A teacher sees objects everywhere: `pseudo/kept_to_labelled`, kept an image over what a labelled image holds, above 3. What it repeats it becomes sure
    of, and what was kept once is kept again."""

    name = "pseudo/kept_to_labelled"

    def wrong(self, value: float) -> bool:
        return value > MANY

    def text(self, value: float) -> str:
        return (
            f"the teacher keeps {value:.1f} times as many objects an image as the labelled images hold; set method.adapt_on=counts "
            "(method.adapt_keep=0.99), or raise method.class_threshold"
        )


def watch_of(experiment: Experiment) -> Watch:
    """What can go wrong with this method."""
    model, method = experiment.model, experiment.method
    kind: type[Watch] = CollapseWatch
    if isinstance(method, SdeConfig) or (isinstance(model, DenseModelConfig) and model.multi_task):
        kind = FlatDepthWatch
    elif isinstance(method, PlDcConfig):
        kind = PseudoLabelWatch
    return kind(experiment.schedule.steps, log_every=experiment.schedule.log_every)


def _patience(steps: int, log_every: int) -> int:
    lines = steps // log_every - (steps - 1) // (3 * log_every)
    return max(1, min(PATIENCE, lines))

"""Warnings about a run that goes wrong in a known way."""

from collections.abc import Mapping

from depthbox.experiment import Experiment
from depthbox.models.config import DenseModelConfig
from depthbox.supervision.config import SdeConfig

__all__ = ["CollapseWatch", "FlatDepthWatch", "watch_of"]

FULL, EMPTY, PATIENCE = 0.95, 0.1, 5
FLAT = 0.05


class CollapseWatch:
    """Says once that the masks have become the boxes, or nothing: `mask_box_ratio` above 0.95 or below 0.1 in five log lines in a row, after the
    first third of the run (in all of them, where a run has fewer)."""

    def __init__(self, steps: int, *, log_every: int = 1) -> None:
        self.steps, self.patience = steps, _patience(steps, log_every)
        self._in_a_row, self._said = 0, False

    def look(self, metrics: Mapping[str, float], *, step: int) -> str:
        """The warning, at the one time it is due; else an empty text."""
        if self._said or "mask_box_ratio" not in metrics or step < self.steps / 3:
            return ""
        ratio = metrics["mask_box_ratio"]
        self._in_a_row = 0 if EMPTY <= ratio <= FULL else self._in_a_row + 1
        if self._in_a_row < self.patience:
            return ""
        self._said = True
        # Both are at rest where no neighbours differ: a full box as well as next to nothing. A weight too high falls for the one that is nearer.
        what, start = ("so they are the boxes", "a smaller") if ratio > FULL else ("so there are none", "a larger")
        return (
            f"step {step}: the masks fill {ratio:.0%} of their boxes, {what}; lower method.weights.color_affinity or depth_affinity, or take "
            f"{start} method.prior_size, and look at the depth edges in the picture of the run"
        )


class FlatDepthWatch:
    """Says once that depth from video has become a constant: `disparity_spread` below 0.05 in five log lines in a row, after the first third of the run
    (in all of them, where a run has fewer)."""

    def __init__(self, steps: int, *, log_every: int = 1) -> None:
        self.steps, self.patience = steps, _patience(steps, log_every)
        self._in_a_row, self._said = 0, False

    def look(self, metrics: Mapping[str, float], *, step: int) -> str:
        """The warning, at the one time it is due; else an empty text."""
        if self._said or "disparity_spread" not in metrics or step < self.steps / 3:
            return ""
        spread = metrics["disparity_spread"]
        self._in_a_row = self._in_a_row + 1 if spread < FLAT else 0
        if self._in_a_row < self.patience:
            return ""
        self._said = True
        return (
            f"step {step}: the depth has collapsed to a constant (its spread is {spread:.1%} of its mean); does the camera move? "
            "try a larger data.gap, another seed or a lower schedule.learning_rate"
        )


def watch_of(experiment: Experiment) -> CollapseWatch | FlatDepthWatch:
    """What can go wrong with this method."""
    model = experiment.model
    of_depth = isinstance(experiment.method, SdeConfig) or (isinstance(model, DenseModelConfig) and model.multi_task)
    return (FlatDepthWatch if of_depth else CollapseWatch)(
        experiment.schedule.steps, log_every=experiment.schedule.log_every
    )


def _patience(steps: int, log_every: int) -> int:
    lines = steps // log_every - (steps - 1) // (3 * log_every)
    return max(1, min(PATIENCE, lines))

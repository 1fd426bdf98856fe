"""Warnings about a run that goes wrong in a known way."""

from collections.abc import Mapping

__all__ = ["CollapseWatch"]

FULL, EMPTY, PATIENCE = 0.95, 0.1, 5


class CollapseWatch:
    """Says once that the masks have become the boxes, or nothing: `mask_box_ratio` above 0.95 or below 0.1 in five log lines in a row, after the
    first third of the run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._in_a_row, self._said = 0, False

    def look(self, metrics: Mapping[str, float], *, step: int) -> str:
        """The warning, at the one time it is due; else an empty text."""
        if self._said or "mask_box_ratio" not in metrics or step < self.steps / 3:
            return ""
        ratio = metrics["mask_box_ratio"]
        self._in_a_row = 0 if EMPTY <= ratio <= FULL else self._in_a_row + 1
        if self._in_a_row < PATIENCE:
            return ""
        self._said = True
        # Both are at rest where no neighbours differ: a full box as well as next to nothing. A weight too high falls for the one that is nearer.
        what, start = ("so they are the boxes", "a smaller") if ratio > FULL else ("so there are none", "a larger")
        return (
            f"step {step}: the masks fill {ratio:.0%} of their boxes, {what}; lower method.weights.color_affinity or depth_affinity, or take "
            f"{start} method.prior_size, and look at the depth edges in the picture of the run"
        )

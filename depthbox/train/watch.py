"""Warnings about a run that goes wrong in a known way."""

from collections.abc import Mapping

__all__ = ["CollapseWatch"]

COLLAPSED, PATIENCE = 0.95, 5


class CollapseWatch:
    """Says once that the masks have become the boxes: `mask_box_ratio` above 0.95 in five log lines in a row, after the first third of the run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._in_a_row, self._said = 0, False

    def look(self, metrics: Mapping[str, float], *, step: int) -> str:
        """The warning, at the one time it is due; else an empty text."""
        if self._said or "mask_box_ratio" not in metrics or step < self.steps / 3:
            return ""
        self._in_a_row = self._in_a_row + 1 if metrics["mask_box_ratio"] > COLLAPSED else 0
        if self._in_a_row < PATIENCE:
            return ""
        self._said = True
        return (
            f"step {step}: the masks fill {metrics['mask_box_ratio']:.0%} of their boxes, so they are the boxes; raise "
            "method.weights.color_affinity or depth_affinity, and look at the depth edges in the picture of the run"
        )

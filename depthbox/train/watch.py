"""Warnings about a run that goes wrong in a known way."""

import logging
from collections.abc import Mapping

__all__ = ["CollapseWatch"]

log = logging.getLogger("depthbox")
COLLAPSED, PATIENCE = 0.95, 5


class CollapseWatch:
    """Says once that the masks have become the boxes: `mask_box_ratio` above 0.95 in five log lines in a row, after the first third of the run."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._in_a_row = 0

    def look(self, metrics: Mapping[str, float], *, step: int) -> None:
        if "mask_box_ratio" not in metrics or step < self.steps / 3:
            return
        self._in_a_row = self._in_a_row + 1 if metrics["mask_box_ratio"] > COLLAPSED else 0
        if self._in_a_row == PATIENCE:
            log.warning(
                "step %d: the masks fill %.0f %% of their boxes, so they are the boxes; raise method.weights.color_affinity or "
                "depth_affinity, lower method.depth_threshold, or look at the edges in the picture of the run",
                step,
                100 * metrics["mask_box_ratio"],
            )

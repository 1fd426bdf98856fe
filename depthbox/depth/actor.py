"""The depth stage over columns of plain arrays: load once, call per batch. Ray Data may map it; no Ray in here."""

from typing import Literal

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.depth.cache import DisparityCache, Found
from depthbox.depth.estimator import build_estimator

__all__ = ["DepthActor"]


class DepthActor:
    """Columns in: image (u8 "H W 3" a row, sizes may differ), digest, path, ok.

    Columns added: disparity (f16 "h w" a row), depth_hit, depth_inferred (bool).
    A row with ok False is passed over (disparity zeros (1, 1)). What an unusable map of one photo means is chosen once:
    `raise` ends the batch with `BadDepth`, `quarantine` sets the row's ok to False and its `reason` to the error.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Ray Data gives an actor its arguments by position
        self,
        spec: str,
        cache_folder: str | None,
        device: str = "cpu",
        threads: int = 1,
        maps_kind: str = "depth_mm",
        maps_zero: str = "far",
        bad_depth: Literal["raise", "quarantine"] = "raise",
    ) -> None:
        """`threads` are torch's, for the whole process; 0 leaves them alone (for use inside a training process)."""
        estimator = build_estimator(spec, device=device, maps_kind=maps_kind, maps_zero=maps_zero)
        if estimator is None:
            raise UsageError("depth.source=none has no depth stage; leave the actor out")
        if threads and estimator.cached:
            import torch

            torch.set_num_threads(threads)
        self.estimator = estimator
        self.cache = DisparityCache(cache_folder)
        self.bad_depth = bad_depth

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ok = np.asarray(batch["ok"], bool)
        rows = np.flatnonzero(ok)
        images = [np.ascontiguousarray(batch["image"][row]) for row in rows]
        digests, paths = ([str(batch[column][row]) for row in rows] for column in ("digest", "path"))
        answers = dict(zip(rows.tolist(), self.cache.look_up(images, digests, paths, self.estimator), strict=True))
        faults = {row: answer.fault for row, answer in answers.items() if answer.fault}
        if faults and self.bad_depth == "raise":
            raise next(iter(faults.values()))
        added = {
            "disparity": _column([_map(answers.get(row)) for row in range(len(ok))]),
            "depth_hit": np.array([row in answers and answers[row].hit for row in range(len(ok))], bool),
            "depth_inferred": np.array([row in answers and answers[row].inferred for row in range(len(ok))], bool),
        }
        return {**batch, **added, **(_quarantined(batch, faults) if self.bad_depth == "quarantine" else {})}


def _quarantined(batch: dict[str, np.ndarray], faults: dict) -> dict[str, np.ndarray]:
    ok = np.array(batch["ok"], bool)
    reason = _column([str(text or "") for text in batch.get("reason", [""] * len(ok))])
    for row, fault in faults.items():
        ok[row], reason[row] = False, str(fault)
    return {"ok": ok, "reason": reason}


def _map(answer: Found | None) -> np.ndarray:
    return np.zeros((1, 1), np.float16) if answer is None or answer.disparity is None else answer.disparity


def _column(values: list) -> np.ndarray:
    """An object array also where all rows have one shape, so a column has one type over all batches."""
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column

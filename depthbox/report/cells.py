"""One cell of a table, run to its end."""

import math
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.experiment import Experiment
from depthbox.report.ablation import Cell, Finished

__all__ = ["at_its_place", "run_cell"]


def at_its_place(cell: Cell, out: Path) -> Experiment:
    """The cell's experiment in its own folder, which the next try finds again, with a name for MLflow."""
    named = replace(cell.experiment.tracking, run_name=f"{cell.row} (seed {cell.seed})")
    return replace(cell.here, out=str(out / cell.digest), tracking=named)


def run_cell(cell: Cell, out: Path, *, metrics: Sequence[str], tags: Mapping[str, str]) -> Finished:
    """Raises what the run raises, and `InputError` where it gives no number for a metric of the table."""
    from depthbox.train.launch import run

    since = time.monotonic()
    words = f"depthbox ablate: {cell.row}, seed {cell.seed}"
    result = run(at_its_place(cell, out), command=words, tags={**tags, "depthbox.row": cell.row})
    lacking = [name for name in metrics if not math.isfinite(result.scores.get(name, math.nan))]
    if lacking:
        cause, next_step = (
            f"has no {', '.join(lacking)} ({result.note})",
            "give validation masks, then run the table again",
        )
        raise InputError(result.out, "", cause, next_step)
    return Finished(
        digest=cell.digest,
        row=cell.row,
        seed=cell.seed,
        scores=dict(result.scores),
        seconds=round(time.monotonic() - since, 1),
        machine=_machine(),
        commit=_commit(),
        run_id=result.run_id,
    )


def _machine() -> str:
    import torch

    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} threads {platform.machine()}"
    )
    return f"{device}, torch {torch.__version__}"


def _commit() -> str:
    """Of the code that ran, with a + where it was edited since; empty for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        words = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--", str(here.parent)]]
        head, edits = (
            subprocess.run(w, cwd=here, capture_output=True, text=True, check=False).stdout.strip() for w in words
        )
    except OSError:
        return ""
    return f"{head}+" if head and edits else head

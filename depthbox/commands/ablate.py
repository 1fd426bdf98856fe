"""`depthbox ablate TABLE.py`: run the cells of a table that are missing, then show and write the table."""

import argparse
import importlib.util
import math
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides
from depthbox.core.errors import InputError, UsageError
from depthbox.report.ablation import Ablation, Cell, Finished, finished_cells, keep, summary

__all__ = ["command", "load_table"]


def command(arguments: argparse.Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise UsageError(
            "which table? depthbox ablate experiments/table_NAME.py [seeds=0,1] [rows=TEXT] [cells=N] path=value ..."
        )
    file, words = Path(arguments.words[0]), parse_overrides(arguments.words[1:])
    whole = load_table(file)
    chosen, limit = _chosen(whole, words)
    out = Path(words.pop("out", f"out/{file.stem}")).absolute()
    table = chosen.placed(words)
    results = file.resolve().parent / "results"
    missing = [cell for cell in table.cells() if cell.digest not in finished_cells(results)]
    if arguments.dry_run:
        for cell in missing:
            print(f"{cell.digest}  {cell.row}  seed {cell.seed}", file=for_people(as_json=arguments.json))
        return 0
    failed = 0
    for number, cell in enumerate(missing[:limit], 1):
        print(f"cell {number} of {len(missing[:limit])}: {cell.row}, seed {cell.seed}", file=sys.stderr, flush=True)
        try:
            keep(_run(cell, out, table.metrics), results / f"{file.stem}.jsonl")
        except InputError as error:
            failed += 1
            print(f"depthbox: {cell.row}, seed {cell.seed}: {error}", file=sys.stderr, flush=True)
    _write(whole.placed(words), results, file.stem)
    _show(table, results, as_json=arguments.json)
    return 1 if failed else 0


def load_table(file: Path) -> Ablation:
    """The `TABLE` of a Python file. Raises `InputError` where there is none."""
    if not file.is_file():
        raise InputError(file, "", "there is no such table", "give a file such as experiments/table_box_depth.py")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = getattr(module, "TABLE", None)
    if not isinstance(table, Ablation):
        raise InputError(
            file, "TABLE", "is no depthbox.report.ablation.Ablation", "write TABLE = Ablation(base=..., rows={...})"
        )
    return table


def _chosen(table: Ablation, words: dict[str, str]) -> tuple[Ablation, int | None]:
    """The part of the table that `seeds=`, `rows=` (a part of their names) and `cells=` (at most so many now) ask for; they leave `words`."""
    if "seeds" in words:
        table = replace(table, seeds=tuple(_whole("seeds", one) for one in words.pop("seeds").split(",")))
    if "rows" in words:
        wanted = words.pop("rows")
        rows = {name: changes for name, changes in table.rows.items() if wanted in name}
        if not rows:
            raise UsageError(f"rows={wanted}: no row has that in its name; there are: {', '.join(table.rows)}")
        table = replace(table, rows=rows)
    return table, _whole("cells", words.pop("cells")) if "cells" in words else None


def _whole(name: str, text: str) -> int:
    if not text.strip().isdigit():
        raise UsageError(f"{name}={text}: takes whole numbers")
    return int(text)


def _run(cell: Cell, out: Path, metrics: Sequence[str]) -> Finished:
    """Raises `InputError` where the run fails, or gives no number for a metric of the table."""
    from depthbox.train.launch import run

    since = time.monotonic()
    experiment = replace(cell.experiment, out=str(out / cell.digest))
    store = experiment.tracking.uri or f"sqlite:///{out / 'mlflow.db'}"
    named = replace(experiment.tracking, uri=store, run_name=f"{cell.row} (seed {cell.seed})")
    result = run(replace(experiment, tracking=named), command=f"depthbox ablate: {cell.row}, seed {cell.seed}")
    lacking = [name for name in metrics if not math.isfinite(result.scores.get(name, math.nan))]
    if lacking:
        raise InputError(
            result.out,
            "",
            f"has no {', '.join(lacking)} ({result.note})",
            "give validation masks, then run the table again",
        )
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


def _write(whole: Ablation, results: Path, name: str) -> None:
    from depthbox.report.table import markdown_table

    results.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.md").write_text(markdown_table(*summary(whole, finished_cells(results))) + "\n")


def _show(table: Ablation, results: Path, *, as_json: bool) -> None:
    from depthbox.report.table import console_table

    columns, rows = summary(table, finished_cells(results))
    console_table(columns, rows, file=for_people(as_json=as_json))
    if as_json:
        end_with_json({"columns": columns, "rows": rows})

"""`depthbox ablate TABLE.py`: run the cells of a table that are missing, then write and show the table."""

import argparse
import importlib.util
import shlex
from dataclasses import replace
from pathlib import Path

from depthbox.commands.alone import alone, sigterm_as_ctrl_c
from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides
from depthbox.core.errors import InputError, UsageError
from depthbox.report.ablation import Ablation

__all__ = ["command", "load_table"]


def command(arguments: argparse.Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise UsageError(
            "which table? depthbox ablate experiments/table_NAME.py [seeds=0,1] [rows=TEXT] [cells=N] path=value ..."
        )
    from depthbox.report.run_table import TableRun
    from depthbox.tracking import tracking_uri

    file, words = Path(arguments.words[0]), parse_overrides(arguments.words[1:])
    whole = load_table(file)
    chosen, limit = _chosen(whole, words)
    out = Path(words.pop("out", f"out/{file.stem}")).absolute()
    places = {"tracking.experiment": file.stem} | words
    places["tracking.uri"] = tracking_uri(words.get("tracking.uri"), out=out)
    table = TableRun(
        name=file.stem,
        whole=whole.placed(places),
        chosen=chosen.placed(places),
        out=out,
        results=file.resolve().parent / "results",
        command=shlex.join(["depthbox", "ablate", *arguments.words]),
    )
    if arguments.dry_run:
        for cell in table.missing():
            print(f"{cell.digest}  {cell.row}  seed {cell.seed}", file=for_people(as_json=arguments.json))
        return 0
    page, opened_by = _run(table, limit)
    _show(table, page, opened_by, as_json=arguments.json)
    return 1 if table.failed else 0


def load_table(file: Path) -> Ablation:
    """The `TABLE` of a Python file, about what its docstring says. Raises `InputError` where there is none."""
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
    return replace(table, about=table.about or (module.__doc__ or "").strip())


def _run(table, limit: int | None) -> tuple[Path, str]:
    """The page, and how to open the parent run, which ends in the state that the table does."""
    from depthbox.report.run_table import stopped
    from depthbox.tracking.study import open_study

    experiment, digest = table.whole.base.tracking.experiment, table.whole.digest
    with alone(table.out, lock=".ablate.lock", what="this table"), sigterm_as_ctrl_c():
        study = open_study(table.uri, experiment=experiment, name=table.name, digest=digest, out=table.out)
        try:
            table.run_missing(study, limit=limit)
            page = table.write_report(study)
        except BaseException as error:
            study.finish("KILLED" if stopped(error) else "FAILED")
            raise
        study.finish("FAILED" if table.failed else "FINISHED")
    return page, study.command_to_open()


def _chosen(table: Ablation, words: dict[str, str]) -> tuple[Ablation, int | None]:
    """The part of the table that `seeds=`, `rows=` (a part of their names) and `cells=` (at most so many now) ask for; they leave `words`."""
    if "seeds" in words:
        seeds = tuple(_whole("seeds", one) for one in words.pop("seeds").split(","))
        if unknown := set(seeds) - set(table.seeds):
            raise UsageError(
                f"seeds={min(unknown)}: the table has {', '.join(map(str, table.seeds))}; add it to the file's seeds=(...)"
            )
        table = replace(table, seeds=seeds)
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


def _show(table, page: Path, opened_by: str, *, as_json: bool) -> None:
    from depthbox.report.table import console_table
    from depthbox.report.text import overview

    columns, rows = overview(table.compared())
    people = for_people(as_json=as_json)
    console_table(columns, rows, file=people)
    for title, why in table.failed.items():
        print(f"failed     {title}: {why}", file=people)
    print(f"page       {page}", file=people)
    if opened_by:
        print(f"MLflow     {opened_by}", file=people)
    if as_json:
        end_with_json({"columns": columns, "rows": rows, "failed": table.failed, "page": str(page)})

"""`depthbox sweep SEARCH.py`: run the trials that are missing, then show them; the best one is what a person came for."""

import argparse
import json
import shlex
import sys
from functools import partial
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import UsageError
from depthbox.tracking import prepare_store
from depthbox.tracking.study import Study, open_study
from depthbox.tracking.words import redacted
from depthbox.train.stop import Interrupted
from depthbox.tune.campaign import Tally
from depthbox.tune.folder import claimed
from depthbox.tune.ledger import Trial
from depthbox.tune.space import Search
from depthbox.tune.sweep import SweepPlace, machines_at, plan_of, run_sweep

__all__ = ["command", "load_search", "resolved_search"]


def command(arguments: argparse.Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise UsageError("which search? depthbox sweep experiments/search_NAME.py [trials=N] path=value ...")
    file = Path(arguments.words[0])
    search = resolved_search(load_search(file), arguments.words[1:])
    if arguments.dry_run:
        return _plan(search, as_json=arguments.json)
    out = Path(search.base.out or f"out/{file.stem}").absolute()
    return _run(search, out, name=file.stem, words=arguments.words, as_json=arguments.json)


def load_search(file: Path) -> Search:
    """The `SEARCH` of a Python file. Raises `InputError` where there is none."""
    from depthbox.commands.definition import load_value

    return load_value(file, "SEARCH", Search, example="Search(base=..., space={...})")


def resolved_search(search: Search, words: list[str]) -> Search:
    """With the command's words: `trials=` and `search.*` say how to search, everything else is the base experiment's."""
    overrides = parse_overrides(words)
    how = {path.removeprefix("search."): value for path, value in overrides.items() if path.startswith("search.")}
    if "trials" in overrides:
        how["trials"] = overrides["trials"]
    if {"base", "space"} & set(how):
        raise UsageError("search.base and search.space are what the file is for; write another file")
    search = vary(search, how)
    return search.placed({p: v for p, v in overrides.items() if not p.startswith("search.") and p != "trials"})


def _plan(search: Search, *, as_json: bool) -> int:
    search.check()
    plan = plan_of(search, machines_at(search.base.ray.address))
    people = for_people(as_json=as_json)
    for path, domain in search.space.items():
        print(f"{path}: {domain!r}", file=people)
    print(f"{search.trials} trials of {search.epochs} epochs, {search.sampler}, {search.scheduler}", file=people)
    print(*(f"resources: {line}" for line in plan.lines()), sep="\n", file=people)
    if as_json:
        space = {path: repr(domain) for path, domain in search.space.items()}
        facts = {"trials": search.trials, "concurrency": plan.concurrency, "resources": plan.lines()}
        end_with_json({"space": space, **facts})
    return 0


def _run(search: Search, out: Path, *, name: str, words: list[str], as_json: bool) -> int:
    search.check()
    # Refused before anything is begun anywhere.
    plan_of(search, machines_at(search.base.ray.address))
    with claimed(search, out):
        tracking = search.base.tracking
        store = prepare_store(tracking.uri, out=out)
        study_name = name if tracking.experiment == "depthbox" else tracking.experiment
        study = open_study(store, experiment=study_name, name=tracking.run_name or name, digest=search.digest, out=out)
        shown = redacted(shlex.join(["depthbox", "sweep", *words]))
        place = SweepPlace(out=out, store=store, study=study_name, tags=study.child_tags(), command=shown)
        try:
            tally = run_sweep(search, place, say=partial(_heard, study, search))
            _write_down(study, search, tally, place)
        except BaseException as error:
            interrupted = isinstance(error, (KeyboardInterrupt, Interrupted))
            study.finish("KILLED" if interrupted else "FAILED")
            raise
        study.finish("FINISHED" if tally.best else "FAILED")
    _show(search, tally, study, as_json=as_json)
    return 0 if tally.best else 1


def _heard(study: Study, search: Search, trial: Trial, tally: Tally) -> None:
    print(_line(trial, search, tally), file=sys.stderr, flush=True)
    if tally.best is not None and tally.best.score is not None:
        ended = sum(one.ended for one in tally.trials)
        study.points({f"best/{search.metric}": tally.best.score, "epochs_run": tally.epochs_run}, step=ended)


def _write_down(study: Study, search: Search, tally: Tally, place: SweepPlace) -> None:
    """Table, figures, page, best configuration and note: into the folder, and to the parent run."""
    from depthbox.report.search_page import draw_figures, write_search_page
    from depthbox.report.table import csv_table, markdown_table

    columns, rows = _table(search, tally)
    table = markdown_table(columns, rows)
    study.table("trials", markdown=table, csv=csv_table(columns, rows))
    (place.out / "trials.md").write_text(table + "\n")
    if tally.best is None:
        return
    best = _best(tally.best, search, place.out)
    study.best(best)
    (place.out / "best.json").write_text(json.dumps(best, indent=1))
    words = " ".join(f"{path}={value}" for path, value in tally.best.changes.items())
    whole = len(tally.trials) * search.epochs if search.scheduler != "population" else search.trials * search.epochs
    text = (
        f"Best: {search.metric} {tally.best.score:.3f}, trial {tally.best.number}: {words}",
        f"{len(tally.trials)} trials, {tally.epochs_run} epochs run of {whole}.",
    )
    figures = draw_figures(
        {one.number: one.curve for one in tally.trials},
        {path: [one.changes[path] for one in tally.trials] for path in search.space},
        metric=search.metric,
        best=tally.best.number,
        folder=place.out / "figures",
    )
    for figure in figures:
        study.figure(figure)
    study.page(
        write_search_page(
            place.out / "report.html", text=(*text, place.command), table=(columns, rows), figures=figures
        )
    )
    pictures = "\n\n".join(f"![{one.stem}]({study.figure_address(one)})" for one in figures)
    study.note(f"**{text[0]}**\n\n{text[1]}\n\n{table}\n\n{pictures}")


def _table(search: Search, tally: Tally) -> tuple[list[str], list[list[object]]]:
    """Best first; what failed last."""
    columns = ["trial", "status", search.metric, "epochs", "minutes", *search.space]
    ranked = sorted(tally.trials, key=lambda one: (one.score is None, -(one.score or 0.0), one.number))
    if tally.best is not None:
        ranked = [tally.best, *(one for one in ranked if one is not tally.best)]
    return columns, [
        [one.number, one.status, one.score, one.epoch, one.seconds / 60, *(one.changes[path] for path in search.space)]
        for one in ranked
    ]


def _best(trial: Trial, search: Search, out: Path) -> dict[str, object]:
    return {
        "trial": trial.number,
        "digest": trial.digest,
        search.metric: trial.score,
        "settings": dict(trial.changes),
        "run_id": trial.run_id,
        "out": str(out / trial.folder),
    }


def _line(trial: Trial, search: Search, tally: Tally) -> str:
    score = "-" if trial.score is None else f"{trial.score:.3f}"
    words = "  ".join(f"{path.rsplit('.', 1)[-1]}={value}" for path, value in trial.changes.items())
    best = f"  (best so far: trial {tally.best.number}, {tally.best.score:.3f})" if tally.best else ""
    trouble = f"  {trial.error}" if trial.error else ""
    return (
        f"trial {trial.number} {trial.status} at epoch {trial.epoch}: {search.metric} {score}  {words}{trouble}{best}"
    )


def _show(search: Search, tally: Tally, study: Study, *, as_json: bool) -> None:
    from depthbox.report.table import console_table

    people = for_people(as_json=as_json)
    console_table(*_table(search, tally), file=people)
    if tally.best is not None:
        words = shlex.join(f"{path}={value}" for path, value in tally.best.changes.items())
        print(f"best       {words}", file=people)
    else:
        print("no trial has ended well", file=people)
    if study.command_to_open():
        print(f"MLflow     {study.command_to_open()}", file=people)
    if as_json:
        end_with_json(_answer(search, tally, study.run_id))


def _answer(search: Search, tally: Tally, parent: str) -> dict[str, object]:
    trials = [
        {
            "number": one.number,
            "digest": one.digest,
            "status": one.status,
            search.metric: one.score,
            "epochs": one.epoch,
            "seconds": one.seconds,
            "settings": dict(one.changes),
            "run_id": one.run_id,
            "error": one.error,
        }
        for one in tally.trials
    ]
    best = tally.best and {
        key: trials[tally.best.number][key] for key in ("number", "digest", search.metric, "settings", "run_id")
    }
    return {"parent_run_id": parent, "best": best, "trials": trials, "epochs_run": tally.epochs_run}

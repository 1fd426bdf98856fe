"""`depthbox stages FILE.py`: stages that build on one another, from video to segmentation, by one command."""

import argparse
import shlex
import sys
from pathlib import Path

from depthbox.commands.alone import alone, sigterm_as_ctrl_c
from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.definition import load_value
from depthbox.core.config import parse_overrides
from depthbox.core.errors import UsageError
from depthbox.stages.graph import Stages
from depthbox.tracking.words import redacted

__all__ = ["command"]


def command(arguments: argparse.Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise UsageError(
            "which stages? depthbox stages experiments/stages_NAME.py [data.root=DIR] [STAGE.]path=value ..."
        )
    from depthbox.stages.run import StagesRun

    file, words = Path(arguments.words[0]), parse_overrides(arguments.words[1:])
    out = Path(words.pop("out", f"out/{file.stem}")).absolute()
    tracking = {key: words.pop(f"tracking.{key}", default) for key, default in (("uri", ""), ("experiment", file.stem))}
    stages = load_value(file, "STAGES", Stages, example="Stages(stages={...})").placed(words)
    work = StagesRun(stages, out=out)
    if arguments.dry_run:
        _show(work, "", as_json=arguments.json)
        return 0
    parent, opened_by = _run(work, file.stem, tracking, words=arguments.words)
    _show(work, opened_by, as_json=arguments.json, parent=parent)
    return 0


def _run(work, name: str, tracking: dict[str, str], *, words: list[str]) -> tuple[str, str]:
    """The parent run's id, and how to open it; it ends in the state that the work does."""
    from depthbox.report.run_table import stopped
    from depthbox.stages.kinds import Place
    from depthbox.tracking import prepare_store
    from depthbox.tracking.study import open_study

    with alone(work.out, lock=".stages.lock", what="these stages"), sigterm_as_ctrl_c():
        store = prepare_store(tracking["uri"], out=work.out)
        study = open_study(store, experiment=tracking["experiment"], name=name, digest=work.stages.digest, out=work.out)
        place = Place(
            uri=store,
            experiment=tracking["experiment"],
            tags=study.child_tags(),
            command=redacted(shlex.join(["depthbox", "stages", *words])),
            say=_say,
        )
        try:
            work.write(study)
            work.run_missing(place, study)
        except BaseException as error:
            study.finish("KILLED" if stopped(error) else "FAILED")
            raise
        study.finish("FINISHED")
    return study.run_id, study.command_to_open()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(work, opened_by: str, *, as_json: bool, parent: str = "") -> None:
    from depthbox.report.table import console_table

    people = for_people(as_json=as_json)
    console_table(*work.table(), file=people)
    print(f"folder     {work.out}", file=people)
    for row in work.rows():
        if row.note:
            print(f"{row.name}: {row.note}", file=people)
    if opened_by:
        print(f"MLflow     {opened_by}", file=people)
    if as_json:
        rows = [
            {"stage": r.name, "what": r.kind, "state": r.state, "folder": str(r.folder), "run_id": r.run_id, "seconds": r.seconds, "scores": r.scores}
            for r in work.rows()
        ]  # fmt: skip
        end_with_json({"parent_run_id": parent, "out": str(work.out), "stages": rows})

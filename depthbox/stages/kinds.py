"""How a stage of each kind runs, each as a child run of one MLflow run: training, selection, filling the depth cache."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.core.config import flatten
from depthbox.experiment import Experiment
from depthbox.stages.graph import CacheFill, Stage
from depthbox.stages.selecting import Selection, select_photos
from depthbox.tracking import Tracker, open_tracker

__all__ = ["LEAVES", "Outcome", "Place", "kind_of", "run_stage"]

LEAVES: Mapping[type, str] = {Experiment: "model.safetensors", Selection: "selected.txt"}
"""The file without which a finished stage is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where runs are written down, whose children they are, and who hears of their progress."""

    uri: str
    experiment: str
    tags: Mapping[str, str]
    command: str
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`scores` are numbers, `note` says in words what there is to know."""

    run_id: str
    scores: Mapping[str, float]
    note: str = ""


def kind_of(config: Stage) -> str:
    """What a person reads of a stage."""
    if isinstance(config, Experiment):
        return f"train {type(config.method).__name__.removesuffix('Config')}"
    return "select" if isinstance(config, Selection) else "depth cache"


def run_stage(name: str, config: Stage, folder: Path, place: Place) -> Outcome:
    """Run it to its end in `folder`; a training run goes on where it was stopped. Raises what the stage raises."""
    if isinstance(config, Experiment):
        return _train(name, config, folder, place)
    with _child(name, config, folder, place) as tracker:
        return (_select if isinstance(config, Selection) else _fill)(config, folder, place, tracker)  # type: ignore[arg-type]


def _train(name: str, config: Experiment, folder: Path, place: Place) -> Outcome:
    from depthbox.train.launch import run

    tracking = replace(config.tracking, uri=place.uri, experiment=place.experiment, run_name=name)
    result = run(replace(config, out=str(folder), tracking=tracking), command=place.command, tags=place.tags)
    return Outcome(run_id=result.run_id, scores=dict(result.scores), note=result.note)


def _select(config: Selection, folder: Path, place: Place, tracker: Tracker) -> Outcome:
    found = select_photos(replace(config, out=str(folder)), say=place.say)
    tracker.artifact(found.list_file)
    tracker.artifact(found.page)
    scores = {"selected": float(len(found.rows)), "images": float(found.images)}
    note = f"{len(found.unreadable)} photos cannot be read, such as {found.unreadable[0]}" if found.unreadable else ""
    return Outcome(run_id=tracker.run_id, scores=scores, note=note)


def _fill(config: CacheFill, folder: Path, place: Place, tracker: Tracker) -> Outcome:
    from depthbox.train.fill_cache import fill_cache

    asked = {"launcher": config.launcher, "ray": config.ray, "out": folder, "say": place.say}
    found = fill_cache(config.data, config.depth, **asked)  # type: ignore[arg-type]
    numbers = {"images": found.images, "depth_inferences": found.inferences, "cache_hits": found.hits}
    note = f"{len(found.unreadable)} photos cannot be read, such as {found.unreadable[0]}" if found.unreadable else ""
    return Outcome(run_id=tracker.run_id, scores={key: float(value) for key, value in numbers.items()}, note=note)


@contextmanager
def _child(name: str, config: Stage, folder: Path, place: Place) -> Iterator[Tracker]:
    """The child run of a stage that is no training; the same one after a kill."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    known = json.loads(record.read_text())["run_id"] if record.is_file() else ""
    tags = {**place.tags, "depthbox.command": place.command}
    tracker = open_tracker(
        place.uri, experiment=place.experiment, run_name=name, params=flatten(config), tags=tags, run_id=known or None, out=folder
    )  # fmt: skip
    _write(record, {"run_id": tracker.run_id})
    try:
        yield tracker
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.finish("FINISHED")


def _write(file: Path, value: object) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value))
    os.replace(part, file)

"""`depthbox evaluate run=FOLDER path=value ...`: the scores of a model, beside the floor that any mask must beat."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import DataConfig, Experiment
from depthbox.models.config import InferenceConfig

__all__ = ["Evaluation", "command", "scored"]

SHOWN = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What can be said to `depthbox evaluate`; what is not said is as in the run."""

    run: str = ""
    data: DataConfig = DataConfig()
    inference: InferenceConfig = InferenceConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"


def command(arguments: argparse.Namespace) -> int:
    overrides = parse_overrides(arguments.words)
    asked = vary(Evaluation(), overrides)  # what is unknown is refused before anything is loaded
    if not asked.run:
        raise UsageError("which run? depthbox evaluate run=FOLDER, the out= of a training run")
    result = scored(Path(asked.run), overrides)
    _show(result, as_json=arguments.json)
    return 0


def scored(folder: Path, overrides: dict[str, str]) -> dict:
    """The scores of the run in `folder`, with "images", "note", "weights"; where masks were scored, "floors" by row."""
    from depthbox.evaluate.cityscapes import cityscapes_scores
    from depthbox.evaluate.floors import box_as_mask, inscribed_ellipse
    from depthbox.evaluate.instance import score
    from depthbox.evaluate.runner import evaluate
    from depthbox.train.inputs import data_root, read_split
    from depthbox.train.saved import open_run_folder

    run = open_run_folder(folder)
    experiment = _asked(run.experiment, overrides)
    data = read_split(data_root(experiment.data.root), experiment.data.val, "data.val", masks=True)
    if run.classes and run.classes != data.class_names:
        cause = f"the classes are not those of {run.weights} ({', '.join(run.classes[:8])})"
        raise InputError(data.source, "categories", cause, "use the same categories, names and order")
    model = run.model(classes=len(data.class_names), experiment=experiment)
    coco, found = evaluate(model, data, views=cast(DataConfig, experiment.data).views, inference=experiment.inference)
    scores = coco.beside(cityscapes_scores(data, found))
    shapes = {} if coco.note else {"box as mask": box_as_mask, "inscribed ellipse": inscribed_ellipse}
    floors = {name: score(data, shape(found, data)).values for name, shape in shapes.items()}
    said = {"run": str(folder), "weights": str(run.weights), "images": len(data.records), "note": scores.note}
    return dict.fromkeys(SHOWN) | scores.values | said | {"floors": floors}


def _asked(experiment: Experiment, overrides: dict[str, str]) -> Experiment:
    """The experiment of the run, with the overrides of this evaluation; its device is this machine's."""
    asked = vary(Evaluation(data=cast(DataConfig, experiment.data), inference=experiment.inference), overrides)
    return replace(experiment, data=asked.data, inference=asked.inference, device=asked.device)


def _show(result: dict, *, as_json: bool) -> None:
    from depthbox.report.table import console_table

    rows = {Path(result["run"]).name: result, **result["floors"]}
    people = for_people(as_json=as_json)
    shown = SHOWN + (("cityscapes_ap",) if "cityscapes_ap" in result else ())
    console_table(["", *shown], [[name, *(row.get(key) for key in shown)] for name, row in rows.items()], file=people)
    if result["note"]:
        print(result["note"], file=people)
    print(f"{result['images']} images, model {result['weights']}", file=people)
    if as_json:
        end_with_json(result)

"""`depthbox evaluate run=FOLDER path=value ...`: the scores of a model, beside the floor that any mask must beat."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import DataConfig, Experiment, SemanticDataConfig
from depthbox.models.config import InferenceConfig

if TYPE_CHECKING:
    from depthbox.train.saved import SavedRun

__all__ = ["Evaluation", "command", "scored"]

SHOWN = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")
SEMANTIC = ("miou", "pixel_accuracy", "mean_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What can be said to `depthbox evaluate`; what is not said is as in the run. `window`: photos with a class for every pixel are seen through
    overlapping squares of so many pixels (0: whole)."""

    run: str = ""
    data: DataConfig | SemanticDataConfig = DataConfig()
    inference: InferenceConfig = InferenceConfig()
    window: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"


def command(arguments: argparse.Namespace) -> int:
    overrides = parse_overrides(arguments.words)
    asked = _known(overrides)
    if not asked.run:
        raise UsageError("which run? depthbox evaluate run=FOLDER, the out= of a training run")
    result = scored(Path(asked.run), overrides)
    _show(result, as_json=arguments.json)
    return 0


def _known(overrides: dict[str, str]) -> Evaluation:
    """What is unknown is refused before anything is loaded."""
    try:
        return vary(Evaluation(), overrides)
    except UsageError as error:
        with suppress(UsageError):
            return vary(Evaluation(data=SemanticDataConfig()), overrides)
        raise error


def scored(folder: Path, overrides: dict[str, str]) -> dict:
    """The scores of the run in `folder`, with "images", "note", "weights"; where masks were scored, "floors" by row."""
    from depthbox.train.saved import open_run_folder

    run = open_run_folder(folder)
    data = cast(DataConfig | SemanticDataConfig, run.experiment.data)
    asked = vary(Evaluation(data=data, inference=run.experiment.inference), overrides)
    # The device is this machine's.
    experiment = replace(run.experiment, data=asked.data, inference=asked.inference, device=asked.device)
    score = _of_classes if isinstance(experiment.data, SemanticDataConfig) else _of_objects
    return {"run": str(folder), "weights": str(run.weights)} | score(run, experiment, asked.window)


def _of_objects(run: "SavedRun", experiment: Experiment, window: int) -> dict:
    from depthbox.evaluate.cityscapes import cityscapes_scores
    from depthbox.evaluate.floors import box_as_mask, inscribed_ellipse
    from depthbox.evaluate.instance import score
    from depthbox.evaluate.runner import evaluate
    from depthbox.models.segmenter import Model
    from depthbox.train.inputs import data_root, read_split

    if window:
        raise UsageError("window= is of runs on photos with a class for every pixel")
    split = cast(DataConfig, experiment.data).val
    data = read_split(data_root(experiment.data.root), split, "data.val", masks=True)
    _same_classes(run, data.class_names, data.source)
    model = cast(Model, run.model(classes=len(data.class_names), experiment=experiment))
    coco, found = evaluate(model, data, views=cast(DataConfig, experiment.data).views, inference=experiment.inference)
    scores = coco.beside(cityscapes_scores(data, found))
    shapes = {} if coco.note else {"box as mask": box_as_mask, "inscribed ellipse": inscribed_ellipse}
    floors = {name: score(data, shape(found, data)).values for name, shape in shapes.items()}
    said = {"images": len(data.records), "note": scores.note, "floors": floors}
    return dict.fromkeys(SHOWN) | scores.values | said


def _of_classes(run: "SavedRun", experiment: Experiment, window: int) -> dict:
    from depthbox.evaluate.semantic import evaluate_semantic
    from depthbox.models.dense_head import DenseNetwork
    from depthbox.train.inputs import data_root
    from depthbox.train.semantic_data import validation_set

    config = cast(SemanticDataConfig, experiment.data)
    data = validation_set(config, data_root(config.root))
    _same_classes(run, data.class_names, data.source)
    model = cast(DenseNetwork, run.model(classes=len(data.class_names), experiment=experiment))
    device = next(model.parameters()).device
    short_side = config.views.short_side
    found = evaluate_semantic(model.class_logits, data, short_side=short_side, window=window, device=device)
    return {**found.values, "images": len(data.records), "note": found.note, "floors": {}}


def _same_classes(run: "SavedRun", names: Sequence[str], source: str) -> None:
    if run.classes and run.classes != tuple(names):
        cause = f"the classes are not those of {run.weights} ({', '.join(run.classes[:8])})"
        raise InputError(source, "categories", cause, "use the same categories, names and order")


def _show(result: dict, *, as_json: bool) -> None:
    from depthbox.report.table import console_table

    rows = {Path(result["run"]).name: result, **result["floors"]}
    people = for_people(as_json=as_json)
    shown = SEMANTIC if "miou" in result else SHOWN + (("cityscapes_ap",) if "cityscapes_ap" in result else ())
    console_table(["", *shown], [[name, *(row.get(key) for key in shown)] for name, row in rows.items()], file=people)
    if result["note"]:
        print(result["note"], file=people)
    print(f"{result['images']} images, model {result['weights']}", file=people)
    if as_json:
        end_with_json(result)

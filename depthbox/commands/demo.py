"""`depthbox demo`: rendered scenes, box labels only, with depth and without, in a few minutes on two cores and without a network."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from depthbox.core.config import parse_overrides, vary
from depthbox.experiment import Experiment
from depthbox.recipes import recipe

__all__ = ["command", "demo_experiments"]

SCENES = {"train": 240, "val": 40}
SIZE_HW = (144, 192)
WORKING_POINT = {
    "data.train.images": "train", "data.train.annotations": "annotations/boxes_train.json",
    "data.val.images": "val", "data.val.annotations": "annotations/instances_val.json",
    # The built-in network was trained on such scenes: its disparity deserves the paper's weight.
    "method.weights.depth_affinity": 1.0,
    "data.views.short_side": 144, "data.views.max_side": 192, "data.views.scale": (1.0, 1.0),
    "schedule.steps": 250, "schedule.checkpoint_every": 125,
}  # fmt: skip
"""What differs from the recipe: small scenes, few steps. The backbone starts from the built-in depth network's encoder (model.weights=builtin)."""


def demo_experiments(out: Path, words: list[str]) -> dict[str, Experiment]:
    """The two runs by row name; `words` override both."""
    data, store = out / "scenes", f"sqlite:///{out / 'mlflow.db'}"
    overrides = parse_overrides(words)
    rows = {"boxes + depth": "builtin", "boxes alone": "none"}
    return {
        name: vary(
            recipe("box_depth"),
            {
                **WORKING_POINT,
                "data.root": str(data),
                "depth.source": source,
                "model.weights": "builtin",
                "depth.cache": str(out / "disparity"),
                "out": str(out / name.replace(" + ", "-").replace(" ", "-")),
                "tracking.uri": store,
                "tracking.run_name": name,
                **overrides,
            },
        )
        for name, source in rows.items()
    }


def command(arguments: argparse.Namespace) -> int:
    words = [w for w in arguments.words if not w.startswith("out=")]
    out = Path(next((w.removeprefix("out=") for w in arguments.words if w.startswith("out=")), "out/demo")).absolute()
    experiments = demo_experiments(out, words)
    if arguments.dry_run:
        from depthbox.commands.train import show_plan

        return max(show_plan(experiment) for experiment in experiments.values())
    _render(out / "scenes")
    from depthbox.train.launch import run

    results = {
        name: run(experiment, command=shlex.join(["depthbox", "demo", *arguments.words]))
        for name, experiment in experiments.items()
    }
    _show(results, experiments, as_json=arguments.json)
    return 0


def _render(folder: Path) -> None:
    from depthbox.data.scenes import render_scenes

    if (folder / "complete").exists():
        return
    total = sum(SCENES.values())
    print(f"rendering {total} scenes into {folder}", file=sys.stderr, flush=True)
    render_scenes(folder, train=SCENES["train"], val=SCENES["val"], size_hw=SIZE_HW, seed=0, progress=_rendered)
    for annotations in (folder / "annotations").glob("*.json"):
        _as_one_class(annotations)
    (folder / "complete").touch()


def _rendered(done: int, total: int) -> None:
    if done % 40 == 0 or done == total:
        print(f"rendered {done}/{total}", file=sys.stderr, flush=True)


def _as_one_class(annotations: Path) -> None:
    """Objects of eight shapes become one class: a few minutes teach masks, not the difference of a cone and a cylinder."""
    content = json.loads(annotations.read_text())
    content["categories"] = [{"id": 1, "name": "object"}]
    for entry in content["annotations"]:
        entry["category_id"] = 1
    annotations.write_text(json.dumps(content))


def _show(results: dict, experiments: dict[str, Experiment], *, as_json: bool) -> None:
    from depthbox.report.table import console_table

    names = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")
    rows = {name: result.scores for name, result in results.items()} | _floors(
        next(iter(results.values())), next(iter(experiments.values()))
    )
    stream = sys.stderr if as_json else sys.stdout
    console_table(
        ["trained from", *names],
        [[name, *(scores.get(n, float("nan")) for n in names)] for name, scores in rows.items()],
        file=stream,
    )
    first = next(iter(results.values()))
    print(
        "The last two rows draw the detected boxes of 'boxes + depth' as masks: what any mask must beat.", file=stream
    )
    print(
        "The backbone started from the encoder of the built-in depth network, which ships with depthbox.", file=stream
    )
    print(f"pictures   {first.picture}\nMLflow     {first.open_command}", file=stream)
    if as_json:
        print(json.dumps({**first.as_json(), "rows": {name: dict(scores) for name, scores in rows.items()}}))


def _floors(result, experiment: Experiment) -> dict[str, dict[str, float]]:
    from depthbox.evaluate.floors import box_as_mask, inscribed_ellipse
    from depthbox.evaluate.instance import score
    from depthbox.train.inputs import data_root, read_split
    from depthbox.train.pictures import read_detections

    data = read_split(data_root(experiment.data.root), experiment.data.val, "data.val", masks=True)
    found = list(
        read_detections(result.out / "detections.json", {c: i for i, c in enumerate(data.category_ids)}).values()
    )
    return {
        "box as mask": dict(score(data, box_as_mask(found, data)).values),
        "inscribed ellipse": dict(score(data, inscribed_ellipse(found, data)).values),
    }

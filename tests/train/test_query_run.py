"""Whole runs of the query head without Ray: full supervision, a start from a finished run, the evaluate command, and PL-DC to the bit."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from confident_detector import confident_detector
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data
from weights import same_weights

from depthbox.commands.evaluate import scored
from depthbox.core.errors import UsageError
from depthbox.experiment import Experiment
from depthbox.train.context import RunContext
from depthbox.train.launch import run
from depthbox.train.stop import Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
QUERY = {
    "model.head": "query",
    "model.channels": 32,
    "model.query.queries": 8,
    "model.query.layers": 2,
    "model.query.width": 32,
    "data.processes": 0,
}
FEW = {"data.train.labelled": "split.txt", "method.query.points.number": 64, "method.burn_in": 0.3, "batch_size": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image ids 1..6, of which two are labelled."""
    folder = write_tiny_data(tmp_path_factory.mktemp("tiny"))
    (folder / "split.txt").write_text("2\n5\n")
    return folder


def experiment(data: Path, out: Path, method: str, **overrides: object) -> Experiment:
    return tiny_experiment(data, out, method, **{**QUERY, **overrides})


def test_full_supervision_can_be_evaluated_and_started_from(data, tmp_path):
    result = run(experiment(data, tmp_path / "one", "full", **{"schedule.steps": 2}))
    assert {"mask_ap", "box_ap"} <= set(result.scores)
    again = scored(tmp_path / "one", {"inference.mask_nms_iou": "0.7", "device": "cpu"})
    assert again["mask_ap"] is not None and again["images"] == 6
    plain = scored(tmp_path / "one", {"device": "cpu"})
    assert plain["mask_ap"] == pytest.approx(result.scores["mask_ap"])
    fine = {"model.init": str(tmp_path / "one"), "schedule.steps": 1, "schedule.learning_rate": 0.0}
    run(experiment(data, tmp_path / "two", "full", **fine))
    assert same_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("method", ["pl_dc", "guided_distillation"])
def test_a_stopped_run_goes_on_to_the_same_bits(data, tmp_path, method, monkeypatch):
    believing: dict[str, object] = {"method.class_threshold": 0.3}
    if method == "pl_dc":
        believing |= {"method.mask_threshold": 0.3, "method.adapt_on": "all"}
        believing |= {"method.lowest": (0.3, 0.3), "method.floors": (0.0, 0.0)}
    run(experiment(data, tmp_path / "whole", method, **FEW, **believing))
    asked = iter([False, False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(experiment(data, tmp_path / "cut", method, **FEW, **believing))
    run(experiment(data, tmp_path / "cut", method, **FEW, **believing))
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    newest = max((tmp_path / "whole" / "checkpoints").iterdir())
    assert json.loads((newest / "state.json").read_text())["evaluated"] == "teacher"
    parts = {"teacher", "model", "optimizer"} | ({"thresholds", "category"} if method == "pl_dc" else set())
    assert {file.stem for file in newest.glob("*.safetensors")} == parts


def test_a_run_without_unlabelled_images_is_scored_by_its_teacher(data, tmp_path):
    settings = {"data.labelled_share": 1.0, "method.burn_in": 0.2, "schedule.steps": 5, "batch_size": 2}
    result = run(experiment(data, tmp_path, "pl_dc", **{**FEW, **settings}))
    assert {"mask_ap", "box_ap"} <= set(result.scores)
    newest = max((tmp_path / "checkpoints").iterdir())
    assert json.loads((newest / "state.json").read_text())["evaluated"] == "teacher"


def test_adaptive_thresholds_start_from_what_the_labelled_images_hold(data, tmp_path):
    """With a burn-in of nothing there is no step that could have counted it, and `adapt_keep=1` keeps the start."""
    adaptive = {"method.adapt_on": "all", "method.adapt_keep": 1.0, "method.lowest": (0.2, 0.2)}
    adaptive |= {"method.floors": (0.0, 0.0), "method.burn_in": 0.0, "schedule.steps": 1}
    run(experiment(data, tmp_path, "pl_dc", **{**FEW, **adaptive}))
    newest = max((tmp_path / "checkpoints").iterdir())
    found = load_file(newest / "thresholds.safetensors")["tau"]
    truth = json.loads((data / "masks_train.json").read_text())
    labels = [a["category_id"] for a in truth["annotations"] if a["image_id"] in (2, 5) and not a.get("iscrowd")]
    share = torch.tensor([labels.count(one["id"]) / len(labels) for one in truth["categories"]])
    wanted = 0.2 + (torch.tensor([[0.85], [0.9]]) - 0.2) * share
    torch.testing.assert_close(found, wanted)


def test_a_folder_without_annotations_teaches_and_its_broken_photo_is_set_aside(data, tmp_path, monkeypatch):
    """Nobody knows what is in its photos, so nothing is said of how many pseudo labels are right."""
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    shutil.copytree(broken / "val", broken / "bare")
    (broken / "bare" / "000.png").write_bytes(b"")
    seen: dict[str, float] = {}
    monkeypatch.setattr(RunContext, "log", lambda self, metrics, *, step: seen.update(metrics))
    settings = FEW | {
        "data.train.labelled": "",
        "data.unlabelled.images": "bare",
        "data.val.annotations": "",
        "data.quarantine_share": 0.3,
        "batch_size": 4,
    }
    settings |= {"method.class_threshold": 0.3, "method.mask_threshold": 0.3, "schedule.steps": 6}
    run(experiment(broken, tmp_path / "run", "pl_dc", **settings))
    assert seen["pseudo/kept_an_image"] > 0 and seen["loss/pseudo_class"] > 0 and "pseudo/precision" not in seen
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["quarantined"]
    assert [Path(row["path"]).parts[-2:] for row in rows] == [("bare", "000.png")]


THREE = {"data.labelled_share": 0.25, "data.boxed_share": 0.25, "data.train.boxed": "boxed.txt", "batch_size": 4}


DETECTOR = {
    "model.head": "dynamic",
    "model.channels": 32,
    "method.burn_in": 0.3,
    "method.class_threshold": 0.01,
    "method.mask_threshold": 0.0,
    "method.detector.class_from": 0.2,
    "method.detector.weights.pseudo_depth_affinity": 0.5,
    "data.processes": 0,
}


@pytest.mark.parametrize("method", ["pl_dc", "detector", "box_depth"])
def test_a_run_of_masks_boxes_and_nothing_goes_on_to_the_same_bits(data, tmp_path, method, monkeypatch):
    """Either head with three kinds of images, colour and built-in disparity; `box_depth` with masks and boxes."""
    (data / "boxed.txt").write_text("1\n3\n")
    shared = THREE | {
        "data.train.annotations": "masks_train.json",
        "data.train.labelled": "split.txt",
        "depth.source": "builtin",
    }
    if method == "pl_dc":
        believing = {
            "method.class_threshold": 0.3,
            "method.mask_threshold": 0.3,
            "method.weights.pseudo_depth_affinity": 0.5,
        }
        settings = QUERY | FEW | shared | believing
        terms = {"projection", "depth_affinity", "pseudo_depth_affinity"}
    elif method == "detector":
        start = confident_detector(data, tmp_path)
        ours = {"method.category": "cut_outs", "method.depth_form": "relief", "method.depth_threshold": 0.0}
        ours |= {"method.pseudo_nms_iou": 0.7, "method.depth_refine": True, "model.init": str(start)}
        method, settings = "pl_dc", shared | DETECTOR | ours
        terms = {"projection", "depth_affinity", "mask_bce", "pseudo_class", "pseudo_depth_affinity"}
    else:
        settings = shared | {"data.labelled_share": 0.5, "data.boxed_share": 0.5, "data.processes": 0}
        terms = {"projection", "depth_affinity", "mask_bce"}
    seen: dict[str, float] = {}
    log = RunContext.log
    monkeypatch.setattr(
        RunContext, "log", lambda self, metrics, *, step: (seen.update(metrics), log(self, metrics, step=step))
    )
    run(tiny_experiment(data, tmp_path / "whole", method, **settings))
    assert {f"loss/{name}" for name in terms} <= set(seen) and seen["loss/projection"] > 0
    if method == "pl_dc":
        assert seen["pseudo/kept_an_image"] > 0 and seen["loss/pseudo_class"] > 0
    asked = iter([False, False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(tiny_experiment(data, tmp_path / "cut", method, **settings))
    run(tiny_experiment(data, tmp_path / "cut", method, **settings))
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_boxes_alone_teach_queries_masks(data, tmp_path):
    """Annotations without any mask: 0.64 in 160 steps; the same with masks 0.74."""
    (data / "all.txt").write_text("".join(f"{number}\n" for number in range(1, 7)))
    settings = {
        "data.train.boxed": "all.txt",
        "data.labelled_share": 0.0,
        "data.boxed_share": 1.0,
        "data.train.annotations": "boxes_train.json",
    }
    settings |= {
        "schedule.steps": 160,
        "schedule.learning_rate": 0.003,
        "schedule.checkpoint_every": 160,
        "batch_size": 4,
    }
    settings |= {
        "model.query.start": "picked",
        "model.query.queries": 10,
        "method.burn_in": 1.0,
        "method.boxed.dilation": 1,
    }
    assert run(experiment(data, tmp_path, "pl_dc", **settings)).scores["mask_ap"] > 0.4


def test_the_methods_head_labels_and_weights_are_asked_for(data, tmp_path):
    with pytest.raises(UsageError, match=r"method\.category=cut_outs asks .* set model\.weights=auto"):
        run(experiment(data, tmp_path, "pl_dc", **FEW, **{"method.category": "cut_outs", "model.weights": "none"}))
    with pytest.raises(UsageError, match=r"set method\.class_threshold=0\.35"):
        run(tiny_experiment(data, tmp_path, "pl_dc", **FEW, **{"model.head": "dynamic"}))
    with pytest.raises(UsageError, match=r"method\.burn_in=0\.99 of \d+ steps leaves none with a teacher"):
        run(experiment(data, tmp_path, "pl_dc", **FEW | {"method.burn_in": 0.99}))
    with pytest.raises(UsageError, match=r"data\.labelled_share=0\.5 leaves 1 images"):
        run(experiment(data, tmp_path, "pl_dc"))


def judge_of_pseudo_labels():
    spec = importlib.util.spec_from_file_location("judge", EXPERIMENTS / "judge_pseudo_labels.py")
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    return judge


def test_pseudo_labels_of_a_run_can_be_judged(data, tmp_path, capsys):
    """The eight queries of a network that knows nothing, in the two steps that are judged."""
    run(experiment(data, tmp_path / "run", "pl_dc", **FEW | {"method.burn_in": 1.0, "schedule.steps": 1}))
    words = [str(tmp_path / "run"), "steps=3", "method.burn_in=0.3", "depth.source=builtin"]
    with pytest.raises(SystemExit, match="no pseudo label to judge"):
        judge_of_pseudo_labels().main(words)
    capsys.readouterr()
    judge_of_pseudo_labels().main([*words, "method.class_threshold=0", "method.mask_threshold=0"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "16 pseudo labels of 2 images, 0.00 of their 2 objects found"
    assert lines[1].startswith("0.00 on an object")
    opinions = ["teacher", "prototypes", "cut-outs", "cut-outs with disparity"]
    qualities = ["class quality", "mask quality", "S_dmatch A", "S_dmatch B", "relief"]
    assert {line[:34].strip() for line in lines[2:]} == {*(f"named by {one}" for one in opinions), *qualities}


def test_the_judge_counts_by_hand(capsys):
    found = {"iou": [0.9, 0.6, 0.2, 0.1], "objects": [3, 1], "found": [2, 0], "corrected iou": [0.9, 0.8, 0.0, 0.0]}
    found |= {"mask quality": [0.9, 0.4, 0.5, 0.3], "named by teacher": [1.0, 0.0, 1.0, 1.0]}
    judge_of_pseudo_labels()._print({name: torch.tensor(values) for name, values in found.items()})
    assert capsys.readouterr().out.split() == [
        "4",
        "pseudo",
        "labels",
        "of",
        "2",
        "images,",
        "0.50",
        "of",
        "their",
        "4",
        "objects",
        "found",
        "0.50",
        "on",
        "an",
        "object,",
        "mean",
        "IoU",
        "of",
        "these",
        "0.750,",
        "corrected",
        "by",
        "disparity",
        "0.850",
        "mask",
        "quality",
        "0.75",
        "(IoU",
        "0.5)",
        "1.00",
        "(IoU",
        "0.75)",
        "named",
        "by",
        "teacher",
        "0.50",
    ]

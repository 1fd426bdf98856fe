"""The command line as a user meets it: real training on six photos, real sqlite MLflow, and every way to be wrong."""

import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import Answer, depthbox
from PIL import Image
from tiny_coco import write_json, write_tiny_coco

from depthbox.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("one_thread")

SECRET = "Tr0ub4dor-9"
READY = [name for name, build in RECIPES.items() if build is not None]
SMALL = [
    *("model.backbone=test_efficientnet", "model.weights=none", "model.channels=32", "model.mask_width=16"),
    *("data.views.short_side=64", "data.views.max_side=96", "batch_size=2", "schedule.steps=3", "schedule.log_every=1"),
    *("launcher=local", "device=cpu"),
]


def paths(root: Path, **changed: str) -> list[str]:
    given = {"train_annotations": "train/boxes.json", "val_annotations": "val/instances.json", **changed}
    return [
        f"data.root={root}",
        *("data.train.images=train/photos", f"data.train.annotations={given['train_annotations']}"),
        *("data.val.images=val/photos", f"data.val.annotations={given['val_annotations']}"),
    ]


def make_data(root: Path) -> Path:
    write_tiny_coco(root / "train", seed=0)
    write_tiny_coco(root / "val", seed=1, images=3)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(words: list[str]) -> None:
    started = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "depthbox", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "depthbox" in imported
    assert not imported & {"torch", "ray", "mlflow", "numpy", "PIL", "rich"}
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "train",
        "ablate",
        "evaluate",
        "predict",
        "label",
        "export",
        "depth",
        "data",
        "select",
        "dashboard",
        "doctor",
    ],
)
def test_every_command_has_help(command: str) -> None:
    answer = depthbox(command, "--help")
    assert answer.status == 0
    assert f"depthbox {command}" in answer.out


def test_the_actions_of_depth_are_listed() -> None:
    shown = depthbox("depth", "--help").out
    assert all(f"depthbox depth {action}" in shown for action in ("run", "evaluate", "train"))


@pytest.mark.parametrize("method", [method for method in READY if method != "sde"])
def test_the_names_of_the_contract(method: str) -> None:
    words = [
        *("data.root=/d", "data.train.images=a", "data.train.annotations=b", "data.val.images=c"),
        *("data.val.annotations=e", "depth.source=maps:m", "depth.maps.kind=depth_m", "depth.maps.zero=missing"),
        *("model.backbone=resnet18", "model.weights=w.safetensors", "model.init=r", "schedule.steps=7", "batch_size=4"),
        *("workers=2", "launcher=local", "seed=3", "out=o", "tracking.uri=none"),
    ]
    answer = depthbox("train", method, "--dry-run", *words, "--json")
    assert answer.status == 0, answer.err
    settings = answer.json["settings"]
    assert {f"{name}={settings[name]}" for name in (word.partition("=")[0] for word in words)} == set(words)


def test_the_names_of_the_contract_for_video() -> None:
    words = ["data.root=/d", "data.train.sequences=a,b_[0-5]", "data.val.sequences=c", "data.gap=2,4", "model.backbone=resnet18",
             "model.init=r", "schedule.steps=7", "batch_size=4", "launcher=local", "seed=3", "out=o", "tracking.uri=none"]  # fmt: skip
    answer = depthbox("train", "sde", "--dry-run", *words, "--json")
    assert answer.status == 0, answer.err
    settings = {
        name: ",".join(map(str, v)) if isinstance(v, list) else v for name, v in answer.json["settings"].items()
    }
    assert {f"{name}={settings[name]}" for name in (word.partition("=")[0] for word in words)} == set(words)


def test_the_same_command_finds_the_same_folder_and_another_seed_another() -> None:
    folders = [
        depthbox("train", "full", "--dry-run", "--json", "launcher=local", *words).json["settings"]["out"]
        for words in ([], ["workers=2"], ["seed=1"])
    ]
    assert folders[0] == folders[1] != folders[2]


def test_a_plan_that_does_not_fit_is_refused_with_its_arithmetic() -> None:
    assert "resources:" in depthbox("train", "full", "--dry-run").out
    answer = depthbox("train", "full", "--dry-run", "workers=512", "batch_size=512")
    assert answer.status == 1
    assert "512 workers 256" in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([], "required"),
        (["train"], "which method?"),
        (["train", "box_dept"], "did you mean box_depth?"),
        (["train", "depth_ssda"], "not built yet"),
        (["train", "box_depth", "schedul.steps=3"], "did you mean schedule.steps"),
        (["train", "box_depth", "schedule.steps=many"], "takes int"),
        (["train", "box_depth", "launcher=slurm"], "allowed are ray, local"),
        (["train", "box_depth", "method.weights=1"], "is a group"),
        (["train", "box_depth", "seed"], "is not an override"),
        (["train", "box_depth", "seed=1", "seed=2"], "given twice"),
        (["train", "box_depth", "--fast"], "unrecognized arguments: --fast"),
        (["train", "box_depth", "launcher=local", "tracking.uri=none"], "data.train.images="),
        (["evaluate"], "which run?"),
        (["evaluate", "run=x", "model.channels=3"], "unknown setting 'model.channels'"),
        (["depth"], "which action?"),
        (["depth", "rum"], "rum: which action?"),
        (["depth", "run", "images=x"], "out= is needed"),
        (["depth", "evaluate", "image=x"], "did you mean images"),
        (["depth", "train", "out=x"], "out=FILE.safetensors"),
        (["data", "validate"], "which data?"),
        (["data", "validate", "data.val.annotations=x.json"], "data.val.images="),
        (["dashboard", "--json"], "unrecognized arguments"),
        (["dashboard", "port=http"], "takes int"),
        (["doctor", "tracking.url=x"], "did you mean tracking.uri?"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(words: list[str], said: str) -> None:
    answer = depthbox(*words)
    assert (answer.status, said in answer.fault) == (2, True), answer.fault


def test_a_traceback_only_where_it_is_asked_for() -> None:
    answer = depthbox("train", "box_dept", "--traceback")
    assert answer.status == 2
    assert "Traceback (most recent call last)" in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("depthbox: unknown method")


def test_no_secret_is_printed(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "o"
    uri = f"tracking.uri=file://ann:{SECRET}@host/x"
    answers = [
        depthbox("train", "full", "--dry-run", "launcher=local", f"tracking.uri=http://ann:{SECRET}@host"),
        depthbox("train", "box_depth", *paths(data), *SMALL, "depth.source=none", f"out={out}", uri, "--traceback"),
        depthbox("dashboard", uri),
        depthbox("doctor", f"tracking.uri=http://ann:{SECRET}@127.0.0.1:1"),
    ]
    assert [answer.status for answer in answers] == [0, 2, 2, 1]
    assert not any(SECRET in answer.out + answer.err for answer in answers)
    assert SECRET not in (out / "experiment.json").read_text()


# Training -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def train_words(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("run") / "first"
    return ["train", "box_depth", *paths(data), *SMALL, "depth.source=maps:train/depth", f"out={out}", "--json"]


@pytest.fixture(scope="module")
def trained(train_words: list[str]) -> Answer:
    answer = depthbox(*train_words)
    assert answer.status == 0, answer.err
    return answer


def store(answer: Answer, query: str) -> list[tuple]:
    with sqlite3.connect(Path(answer.json["out"]) / "mlflow.db") as connection:
        return connection.execute(query, [answer.json["run_id"]]).fetchall()


def points(answer: Answer) -> set[tuple[str, int]]:
    """(curve, step) without the system's; each must be there once."""
    found = [
        row for row in store(answer, "select key, step from metrics where run_uuid = ?") if row[0][:7] != "system/"
    ]
    assert len(found) == len(set(found))
    return set(found)


def test_training_ends_with_one_json_object(trained: Answer) -> None:
    (line,) = trained.out.splitlines()
    result = json.loads(line)
    assert {"mask_ap", "mask_ap50", "mask_ap75", "box_ap", "run_id"} <= result.keys()
    assert all(0 <= result[name] <= 1 for name in ("mask_ap", "mask_ap50", "mask_ap75", "box_ap"))
    counted = {k: result[k] for k in ("depth_inferences", "cache_hits", "rows_in", "rows_ok", "rows_quarantined")}
    assert counted == {"depth_inferences": 0, "cache_hits": 0, "rows_in": 6, "rows_ok": 6, "rows_quarantined": 0}
    assert "mask_ap50" in trained.err and "depthbox dashboard tracking.uri=sqlite:" in trained.err


def test_training_leaves_a_finished_run_in_mlflow(trained: Answer) -> None:
    assert store(trained, "select status from runs where run_uuid = ?") == [("FINISHED",)]
    params = dict(store(trained, "select key, value from params where run_uuid = ?"))
    assert params["schedule.steps"] == "3" and params["method.weights.depth_affinity"] == "0.3"
    tags = dict(store(trained, "select key, value from tags where run_uuid = ?"))
    assert len(tags["depthbox.data_digest"]) == 64 and tags["depthbox.command"].startswith("depthbox train box_depth")
    curves = points(trained)
    names = ("class_focal", "box_giou", "projection", "color_affinity", "depth_affinity", "total")
    assert {(f"loss/{name}", step) for name in names for step in (1, 2, 3)} <= curves
    assert {("val/mask_ap", 3), ("val/box_ap", 3), ("rows_in", 3), ("images_per_second", 2)} <= curves
    folder = Path(trained.json["out"])
    kept = {path.name for path in (folder / "mlartifacts" / trained.json["run_id"] / "artifacts").rglob("*.*")}
    assert {"model.safetensors", "result.json"} <= kept and any(name.startswith("predictions") for name in kept)
    with Image.open(folder / "predictions.png") as grid:
        assert grid.width > grid.height > 64


def test_the_same_command_again_goes_on_in_the_same_run(trained: Answer, train_words: list[str]) -> None:
    before = points(trained)
    again = depthbox(*train_words)
    assert again.status == 0, again.err
    assert again.json == trained.json
    assert points(again) == before
    assert store(again, "select status from runs where run_uuid = ?") == [("FINISHED",)]


def test_a_folder_is_not_given_to_another_experiment(trained: Answer, train_words: list[str]) -> None:
    words = [*train_words, "seed=5", f"tracking.uri=http://ann:{SECRET}@host"]
    answer = depthbox(*words)
    assert answer.status == 2
    assert "seed (0 there, 5 here)" in answer.fault and "tracking" not in answer.fault


def test_without_validation_masks_the_boxes_are_scored_and_a_bad_photo_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_data(tmp_path / "data")
    broken = root / "train/photos/004.png"
    broken.write_bytes(broken.read_bytes()[:900])
    words = ["train", "box_depth", *paths(root, val_annotations="val/boxes.json"), *SMALL, "depth.source=none"]
    answer = depthbox(*words, "data.quarantine_share=0.5", f"out={tmp_path / 'o'}", "tracking.uri=none", "--json")
    assert answer.status == 0, answer.err
    result = answer.json
    assert result["mask_ap"] is None and 0 <= result["box_ap"] <= 1 and result["run_id"] == ""
    assert "masks were not scored" in result["note"] and "masks were not scored" in answer.err
    assert (result["rows_in"], result["rows_ok"], result["rows_quarantined"]) == (6, 5, 1)
    assert f"quarantined: {broken}: damaged or truncated" in caplog.text
    assert not (tmp_path / "o" / "mlflow.db").exists()


def test_ctrl_c_leaves_a_checkpoint_and_a_killed_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = ["train", "box_depth", *paths(data), *SMALL[:-4], *SMALL[-2:], "depth.source=none", f"out={out}"]
    presser = threading.Thread(target=_interrupt_when_training, args=(out,))
    presser.start()
    answer = depthbox(*words, "schedule.steps=5000", "schedule.log_every=1")
    presser.join()
    assert answer.status == 130
    assert answer.err.splitlines()[-1] == "depthbox: interrupted; the same command goes on from the last checkpoint"
    (checkpoint,) = (out / "checkpoints").iterdir()
    assert (checkpoint / "state.json").is_file() and not (out / "stop").exists()
    with sqlite3.connect(out / "mlflow.db") as connection:
        assert connection.execute("select status from runs").fetchall() == [("KILLED",)]


def _interrupt_when_training(out: Path) -> None:
    """A photo is decoded once the data process works, after the signal handlers are in place."""
    end = time.monotonic() + 300
    while not (out / "decoding").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


# Evaluation -----------------------------------------------------------------------------------------------------------


def test_evaluate_repeats_the_scores_of_the_run_beside_the_floors(trained: Answer) -> None:
    answer = depthbox("evaluate", f"run={trained.json['out']}", "device=cpu", "--json")
    assert answer.status == 0, answer.err
    names = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap", "mask_iou")
    assert [answer.json[name] for name in names] == pytest.approx([trained.json[name] for name in names], abs=1e-9)
    assert answer.json["images"] == 3
    assert answer.json["floors"].keys() == {"box as mask", "inscribed ellipse"}
    assert "box as mask" in answer.err and "inscribed ellipse" in answer.err


def test_evaluate_takes_other_data_and_a_run_without_its_last_model(trained: Answer, tmp_path: Path) -> None:
    run = shutil.copytree(trained.json["out"], tmp_path / "run")
    (run / "model.safetensors").unlink()
    answer = depthbox("evaluate", f"run={run}", "data.val.annotations=val/boxes.json", "device=cpu")
    assert answer.status == 0, answer.err
    assert "masks were not scored" in answer.out and "box as mask" not in answer.out
    assert "step-00000003" in answer.out


def test_evaluate_says_what_is_no_run(trained: Answer, data: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in depthbox("evaluate", f"run={tmp_path / 'nowhere'}").fault
    assert "holds no experiment.json" in depthbox("evaluate", f"run={tmp_path}").fault
    said = json.loads((data / "val/instances.json").read_text())
    said["categories"][0]["name"] = "saucer"
    other = write_json(tmp_path / "other.json", said)
    answer = depthbox("evaluate", f"run={trained.json['out']}", f"data.val.annotations={other}")
    assert answer.status == 1 and f"{other}: categories: the classes are not those" in answer.fault


# Bad input ------------------------------------------------------------------------------------------------------------


def changed(said: dict, key: str, index: int, **values: object) -> dict:
    """A COCO file with one record changed."""
    records = [dict(record) for record in said[key]]
    records[index] |= values
    return {**said, key: records}


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("B2", lambda said: changed(said, "annotations", 4, id=1), "annotation 1: this id occurs twice"),
        ("B3", lambda said: changed(said, "annotations", 4, image_id=99), "annotation 5: there is no image 99"),
        ("B4", lambda said: changed(said, "annotations", 2, bbox=[5, 5, -4, 9]), "annotation 3 (image 2): bbox"),
        (
            "B4 NaN",
            lambda said: changed(said, "annotations", 2, bbox=[5, 5, float("nan"), 9]),
            "annotation 3 (image 2)",
        ),
        ("B11", lambda said: changed(said, "images", 1, file_name="../../etc/passwd"), "image 2: file_name"),
        ("no photo", lambda said: changed(said, "images", 1, file_name="9.png"), "image 2: there is no photo '9.png'"),
    ],
)
def test_a_bad_record_is_named_with_its_file(name: str, change, named: str, data: Path, tmp_path: Path) -> None:
    source = write_json(tmp_path / "bad.json", change(json.loads((data / "train/boxes.json").read_text())))
    words = [*paths(data, train_annotations=str(source)), *SMALL, f"out={tmp_path / 'o'}", "depth.source=none"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1, name
    assert answer.fault.startswith(f"depthbox: {source}: {named}"), answer.fault
    found = depthbox("data", "validate", *paths(data, train_annotations=str(source)))
    assert found.status == 1 and f"{source}: {named}" in found.out


def test_b1_json_that_is_cut_off(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "cut.json"
    source.write_text((data / "train/boxes.json").read_text()[:500])
    answer = depthbox("train", "box_depth", *paths(data, train_annotations=str(source)), *SMALL, f"out={tmp_path}/o")
    assert answer.status == 1
    assert answer.fault.startswith(f"depthbox: {source}: line 1, column ")


def test_b9_class_ids_may_be_sparse_and_0(data: Path, tmp_path: Path) -> None:
    said = json.loads((data / "train/boxes.json").read_text())
    swap = {3: 0, 7: 900}
    for key, field in (("categories", "id"), ("annotations", "category_id")):
        said[key] = [one | {field: swap[one[field]]} for one in said[key]]
    source = write_json(tmp_path / "sparse.json", said)
    answer = depthbox("data", "summary", *paths(data, train_annotations=str(source)), "--json")
    assert answer.status == 0
    assert answer.json["train"]["classes"] == {"plate": 6, "ball": 6}


def test_b12_b13_photos_in_both_sets_and_other_classes(data: Path, tmp_path: Path) -> None:
    both = depthbox("data", "validate", *paths(data), "data.val.images=train/photos")
    assert both.status == 2  # given twice
    words = [word for word in paths(data) if not word.startswith("data.val")]
    words += ["data.val.images=train/photos", "data.val.annotations=train/instances.json"]
    answer = depthbox("data", "validate", *words)
    assert answer.status == 1
    assert "6 photos of" in answer.out and "001.png" in answer.out
    said = json.loads((data / "val/instances.json").read_text())
    said["categories"][0]["name"] = "saucer"
    other = write_json(tmp_path / "other.json", said)
    words = [*paths(data, val_annotations=str(other)), *SMALL, "depth.source=none", f"out={tmp_path / 'o'}"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1 and answer.fault.startswith(f"depthbox: {other}: categories: ")


def write_maps(folder: Path, values: np.ndarray) -> Path:
    folder.mkdir()
    for number in range(1, 7):
        Image.fromarray(values).save(folder / f"{number:03d}.png")
    return folder


def near_below(size_hw: tuple[int, int], *, nearest: int, farthest: int) -> np.ndarray:
    return np.repeat(np.linspace(farthest, nearest, size_hw[0])[:, None], size_hw[1], 1).astype(np.uint16)


def test_b15_maps_of_another_size_unit_or_sign_and_a_missing_one(data: Path, tmp_path: Path) -> None:
    wide = write_maps(tmp_path / "wide", near_below((64, 64), nearest=3000, farthest=9000))
    metres = write_maps(tmp_path / "metres", near_below((64, 96), nearest=3, farthest=9))
    inverted = write_maps(tmp_path / "inverted", near_below((64, 96), nearest=9000, farthest=3000))
    missing = write_maps(tmp_path / "missing", near_below((64, 96), nearest=3000, farthest=9000))
    (missing / "005.png").unlink()
    photo = data / "train/photos/005.png"
    for folder, said in {
        wide: "001.png: the map is 64x64, its photo 64x96",
        metres: "001.png: depth.maps.kind=depth_mm: its farthest value would be 9 mm",
        inverted: ": the maps look inverted",
        missing: f": the photo {photo} has no map",
    }.items():
        checked = depthbox("data", "validate", *paths(data), f"depth.source=maps:{folder}")
        assert checked.status == 1 and f"{folder}" in checked.out and said in checked.out, checked.out
        if folder is not wide:  # tried below
            words = [*paths(data), *SMALL, f"depth.source=maps:{folder}", f"out={tmp_path / 'o'}"]
            answer = depthbox("train", "box_depth", *words)
            assert answer.status == 1
            assert f"{folder}" in answer.fault and said in answer.fault, answer.fault
    assert depthbox("data", "validate", *paths(data), "depth.source=maps:train/depth").status == 0


def test_b15_a_map_of_another_size_ends_the_run_by_its_name(data: Path, tmp_path: Path) -> None:
    wide = write_maps(tmp_path / "wide", near_below((64, 64), nearest=3000, farthest=9000))
    words = [*paths(data), *SMALL, f"depth.source=maps:{wide}", f"out={tmp_path / 'o'}"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith(f"depthbox: {wide}") and "the map is 64x64" in last
    with sqlite3.connect(tmp_path / "o" / "mlflow.db") as connection:
        assert connection.execute("select status from runs").fetchall() == [("FAILED",)]


class Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.witness,))


def test_b17_weights_that_could_run_code_are_refused_and_not_run(data: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    small = [word for word in SMALL if not word.startswith("model.weights")]
    for name, setting in [
        ("w.pt", "model.weights"),
        ("w.safetensors", "model.weights"),
        ("m.pth", "model.init"),
        ("m.safetensors", "model.init"),
    ]:
        file = tmp_path / name
        file.write_bytes(pickle.dumps(Payload(witness)))
        words = [*paths(data), *small, "depth.source=none", f"out={tmp_path / 'o'}", f"{setting}={file}"]
        words += [] if setting == "model.weights" else ["model.weights=none"]
        answer = depthbox("train", "box_depth", *words)
        assert answer.status == 1
        assert answer.fault.startswith(f"depthbox: {file}: "), answer.fault
    assert not witness.exists()
    assert not (tmp_path / "o").exists()


# Data, depth, dashboard, doctor ---------------------------------------------------------------------------------------


def test_data_validate_and_summary(data: Path) -> None:
    fine = depthbox("data", "validate", *paths(data), "--json")
    assert (fine.status, fine.json) == (0, {"ok": True, "images": {"train": 6, "val": 3}, "findings": []})
    shown = depthbox("data", "summary", *paths(data))
    assert shown.status == 0 and "objects  12" in shown.out and "masks    no" in shown.out


def test_depth_run_is_read_back_by_depth_evaluate(data: Path, tmp_path: Path) -> None:
    root, out = f"data.root={data}", tmp_path / "maps"
    ran = depthbox("depth", "run", root, "images=train/photos", f"out={out}", "depth.source=maps:train/depth", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["images"] == 6 and len(list(out.glob("*.png"))) == 6 and len(list((out / "preview").iterdir())) == 6
    words = [root, "images=train/photos/00[12].png", "depths=train/depth", "depth.source=maps:train/depth"]
    answer = depthbox("depth", "evaluate", *words, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["images"] == 2
    assert answer.json["estimator"]["spearman"] == pytest.approx(1) and answer.json["lower_is_nearer"]["spearman"] < 0.9
    assert "lower is nearer" in answer.err


def test_depth_says_what_is_missing(data: Path, tmp_path: Path) -> None:
    root = f"data.root={data}"
    answer = depthbox("depth", "run", root, "images=nowhere", f"out={tmp_path}", "depth.source=maps:train/depth")
    assert answer.status == 1 and f"{data / 'nowhere'}: there is no such folder" in answer.fault
    answer = depthbox("depth", "run", root, "images=train/photos", f"out={tmp_path}", "depth.source=none")
    assert answer.status == 2
    Image.new("L", (8, 8)).save(tmp_path / "other.png")
    words = [root, "images=train/photos", f"depths={tmp_path}", "depth.source=maps:train/depth"]
    answer = depthbox("depth", "evaluate", *words)
    assert answer.status == 1 and "no photo has a map of its stem" in answer.fault


def test_depth_train_writes_a_network(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    answer = depthbox("depth", "train", f"out={out}", "scenes=1", "steps=1", "--json")
    assert answer.status == 0, answer.err
    assert answer.json == {"out": str(out), "scenes": 1, "steps": 1, "seed": 0}
    assert 0 < out.stat().st_size < 4e6


def test_the_dashboard_finds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Answer) -> None:
    from depthbox.commands.dashboard import found_store

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "no mlflow.db lies below it" in depthbox("dashboard").fault
    for age, name in enumerate(("new", "old")):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "mlflow.db").touch()
        os.utime(tmp_path / "out" / name / "mlflow.db", (1e9 - age, 1e9 - age))
    assert found_store("")[0] == f"sqlite:///{tmp_path}/out/new/mlflow.db"
    assert "1 more there" in found_store("")[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    assert found_store("") == ("http://host:1", "$MLFLOW_TRACKING_URI")
    assert found_store("sqlite:///x.db")[0] == "sqlite:///x.db"
    answer = depthbox("dashboard", f"tracking.uri=sqlite:///{trained.json['out']}/mlflow.db", "port=99999")
    assert answer.status == 2 and "port=99999" in answer.err


def test_doctor_tells_what_is_wrong(trained: Answer) -> None:
    uri = f"tracking.uri=sqlite:///{trained.json['out']}/mlflow.db"
    answer = depthbox("doctor", uri, "--json")
    names = {check["name"] for check in answer.json["checks"]}
    assert {"python", "torch", "mlflow", "ray", "gpu"} <= names
    assert answer.status == (0 if answer.json["ok"] else 1)
    broken = depthbox("doctor", uri, "ray.address=127.0.0.1:1")
    assert broken.status == 1 and "127.0.0.1:1" in broken.out and "need attention" in broken.out

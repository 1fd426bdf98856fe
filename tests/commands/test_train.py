"""`train` on six photos with a real sqlite MLflow, and what reads its run: `evaluate`, `dashboard`, `doctor`."""

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from command_line import Answer, depthbox
from PIL import Image
from small_runs import SECRET, SMALL, make_data, paths
from tiny_coco import write_json

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


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
    figures = ("edges/color_affinity", "edges/depth_affinity", "mask_box_ratio")
    taught = ("kept_an_image", "kept_share")
    assert {(name, step) for name in figures for step in (1, 2, 3)} <= curves
    assert {(f"distillation/{name}", 3) for name in taught} <= curves, "the teacher starts after two thirds"
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

"""Whole sweeps on a real local Ray cluster with real runs on a tiny data set, and the faults a sweep survives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tiny_data import write_tiny_data

from depthbox.cli import main

ray = pytest.importorskip("ray", reason="sweeps need ray")
pytest.importorskip("optuna", reason="sweeps need optuna")
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
SEARCH_FILE = """
from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.tune.space import Choice, Search

BASE = vary(box_depth(), {
    "data.train.images": "train", "data.train.annotations": "boxes_train.json",
    "data.val.images": "val", "data.val.annotations": "masks_val.json",
    "data.views.short_side": 64, "data.views.max_side": 96, "data.processes": 0,
    "model.backbone": "mobilenetv3_small_050", "model.weights": "none", "model.channels": 16, "model.head_depth": 1, "model.mask_width": 16,
    "schedule.steps": 16, "schedule.log_every": 1, "schedule.precision": "float32",
    "batch_size": 2, "depth.source": "none", "launcher": "local", "device": "cpu",
})
SEARCH = Search(base=BASE, metric="mask_iou", sampler="grid", trials=8, epochs=4, grace=2, factor=2, space={SPACE})
"""
RATES = '{"schedule.learning_rate": Choice(2e-2, 1e-2, 5e-3, 3e-3, 2e-3, 1e-3, 1e-5, -1.0)}'
"""A rate of -1 is refused by the optimizer: that trial fails."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    yield
    ray.shutdown()


def words_for(folder: Path, data: Path, *words: str, space: str = RATES) -> list[str]:
    file = folder / "search_tiny.py"
    file.write_text(SEARCH_FILE.replace("{SPACE}", space))
    return ["sweep", str(file), f"data.root={data}", f"out={folder / 'out'}", *words, "--json"]


def answer(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def runs_of(folder: Path) -> list:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'out' / 'mlflow.db'}")
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def family(folder: Path) -> tuple[list, list]:
    """Parents and children."""
    runs = runs_of(folder)
    children = [one for one in runs if "mlflow.parentRunId" in one.data.tags]
    return [one for one in runs if one not in children], children


def duplicates(folder: Path, run_ids: list[str]) -> list:
    import sqlite3

    with sqlite3.connect(folder / "out" / "mlflow.db") as store:
        rows = store.execute("select run_uuid, key, step from metrics").fetchall()
    return [row for row, count in Counter(row for row in rows if row[0] in run_ids).items() if count > 1]


def begun(folder: Path) -> list[str]:
    return (folder / "out" / "trials.jsonl").read_text().splitlines()


def test_eight_trials_of_which_one_fails_and_asha_stops_some(data: Path, tmp_path: Path, capsys) -> None:
    words = words_for(tmp_path, data)
    assert main(words) == 0
    found = answer(capsys)
    states = Counter(one["status"] for one in found["trials"])
    assert states["failed"] == 1 and states["done"] + states["stopped"] == 7 and states["stopped"] >= 1, found
    assert "learning rate" in next(one["error"] for one in found["trials"] if one["status"] == "failed")
    assert found["epochs_run"] == sum(one["epochs"] for one in found["trials"]) < 28
    assert found["best"]["mask_iou"] == max(one["mask_iou"] for one in found["trials"] if one["status"] == "done")
    parents, children = family(tmp_path)
    assert [one.info.run_id for one in parents] == [found["parent_run_id"]] and parents[0].info.status == "FINISHED"
    assert {one.data.tags["mlflow.parentRunId"] for one in children} == {found["parent_run_id"]}
    assert Counter(one.info.status for one in children) == {"FINISHED": 7, "FAILED": 1}
    assert not duplicates(tmp_path, [one.info.run_id for one in children])
    assert "mask_iou" in parents[0].data.tags["mlflow.note.content"]

    ended = {one["number"] for one in found["trials"] if one["status"] != "failed"}
    lines = len(begun(tmp_path))
    assert main(words) == 0
    again = [json.loads(line) for line in begun(tmp_path)[lines:]]
    assert {line["number"] for line in again} == {n for n in range(8)} - ended, "only the failed one is tried again"
    assert answer(capsys)["parent_run_id"] == found["parent_run_id"] and len(family(tmp_path)[1]) == 8


def test_what_can_never_fit_is_refused_in_five_seconds_and_begins_nothing(data: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    words = words_for(tmp_path, data, "ray.worker_cpus=64")
    done = _command(words).wait(30)
    assert time.monotonic() - began < 5 and done == 1
    assert not (tmp_path / "out").exists()


def test_the_plan_is_shown_without_running(data: Path, tmp_path: Path, capsys) -> None:
    assert main([*words_for(tmp_path, data), "--dry-run"]) == 0
    found = answer(capsys)
    assert found["trials"] == 8 and "driver 0.1 + " in found["resources"][1]
    assert not (tmp_path / "out").exists()


def test_another_search_does_not_take_the_folder(data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "sweep.json").write_text('{"digest": "0123456789abcdef"}')
    assert main([*words_for(tmp_path, data), "tracking.uri=none"]) == 2
    assert "holds another sweep" in capsys.readouterr().err


def _command(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "depthbox", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(what, *, process: subprocess.Popen, limit_s: float = 300.0) -> None:
    end = time.monotonic() + limit_s
    while not what():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def _ended(folder: Path) -> list[int]:
    file = folder / "out" / "trials.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line["number"] for line in lines if line["event"] == "end"]


@pytest.mark.slow
def test_a_killed_driver_goes_on_to_the_same_best_trial(data: Path, tmp_path: Path, capsys) -> None:
    space = '{"schedule.learning_rate": Choice(1e-2, 5e-3, 3e-3, 1e-4)}'
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    assert main(words_for(tmp_path / "whole", data, "trials=4", "search.max_concurrent=1", space=space)) == 0
    whole = answer(capsys)
    words = words_for(tmp_path / "cut", data, "trials=4", "search.max_concurrent=1", space=space)
    process = _command(words)
    _wait_for(lambda: len(_ended(tmp_path / "cut")) >= 1, process=process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ended, lines = set(_ended(tmp_path / "cut")), len(begun(tmp_path / "cut"))
    parent = family(tmp_path / "cut")[0][0].info.run_id
    assert main(words) == 0
    found = answer(capsys)
    later = {json.loads(line)["number"] for line in begun(tmp_path / "cut")[lines:]}
    assert not ended & later, "a finished trial ran again"
    assert found["parent_run_id"] == parent
    for key in ("digest", "status", "mask_iou", "epochs"):
        assert [one[key] for one in found["trials"]] == [one[key] for one in whole["trials"]], key
    assert found["best"]["digest"] == whole["best"]["digest"]
    parents, children = family(tmp_path / "cut")
    assert len(parents) == 1 and len(children) == 4
    assert {one.info.status for one in [*parents, *children]} == {"FINISHED"}
    assert not duplicates(tmp_path / "cut", [one.info.run_id for one in children])


@pytest.mark.slow
def test_ctrl_c_ends_every_run_killed_and_the_same_command_goes_on(data: Path, tmp_path: Path, capsys) -> None:
    space = '{"schedule.learning_rate": Choice(5e-3, 3e-3)}'
    words = words_for(tmp_path, data, "trials=2", "search.max_concurrent=1", "schedule.steps=60", space=space)
    process = _command(words)
    _wait_for(lambda: list((tmp_path / "out").glob("*/checkpoints/step-*/state.json")), process=process)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, process.stderr.read()
    assert {one.info.status for one in runs_of(tmp_path)} == {"KILLED"}
    assert main(words) == 0
    assert {one.info.status for one in runs_of(tmp_path)} == {"FINISHED"} and len(runs_of(tmp_path)) == 3
    assert not duplicates(tmp_path, [one.info.run_id for one in family(tmp_path)[1]])


@pytest.mark.slow
def test_trials_on_ray_train_report_and_share_one_depth_cache(data: Path, tmp_path: Path, capsys) -> None:
    words = words_for(
        tmp_path, data, "trials=3", "launcher=ray", "depth.source=builtin", f"depth.cache={tmp_path / 'cache'}",
        space='{"schedule.learning_rate": Choice(5e-3, 3e-3, 1e-6)}',
    )  # fmt: skip
    assert main(words) == 0
    found = answer(capsys)
    assert {one["status"] for one in found["trials"]} <= {"done", "stopped"}
    children = family(tmp_path)[1]
    last = [one.data.metrics.get("depth/inferences", 0.0) for one in children]
    assert sum(last) == 6 and len(children) == 3


@pytest.mark.slow
def test_a_population_hands_checkpoints_over(data: Path, tmp_path: Path, capsys) -> None:
    words = words_for(
        tmp_path, data, "trials=4", "search.scheduler=population", "search.interval=2",
        space='{"schedule.learning_rate": Choice(5e-3, 3e-3, 1e-5, 1e-6)}',
    )  # fmt: skip
    assert main(words) == 0
    found = answer(capsys)
    assert (
        len(found["trials"]) == 8 and found["epochs_run"] == 16 and {t["status"] for t in found["trials"]} == {"done"}
    )
    lines = [json.loads(line) for line in begun(tmp_path)]
    second = [line for line in lines if line["event"] == "begin" and line["number"] >= 4]
    assert any(line["parent"] != line["number"] - 4 for line in second), "nobody took over"
    parents, children = family(tmp_path)
    assert len(parents) == 1 and len(children) == 4, "a member is one run"
    assert not duplicates(tmp_path, [one.info.run_id for one in children])
    assert {one.info.status for one in children} == {"FINISHED"}


@pytest.mark.slow
def test_a_trial_whose_process_dies_goes_on_from_its_checkpoint(data: Path, tmp_path: Path, capsys) -> None:
    import psutil

    words = words_for(tmp_path, data, "trials=1", "schedule.steps=60", space='{"schedule.learning_rate": Choice(5e-3)}')
    process = _command(words)
    _wait_for(lambda: list((tmp_path / "out").glob("*/checkpoints/step-*/state.json")), process=process)
    for child in psutil.Process(process.pid).children(recursive=True):
        if "ImplicitFunc" in " ".join(child.cmdline()):
            child.kill()
    assert process.wait(300) == 0, process.stderr.read()
    children = family(tmp_path)[1]
    assert len(children) == 1 and children[0].info.status == "FINISHED"
    assert not duplicates(tmp_path, [children[0].info.run_id])

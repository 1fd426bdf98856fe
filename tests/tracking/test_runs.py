"""Runs in a real sqlite store: nothing twice, nothing lost, no secret."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from tracked_runs import SECRET, facts, opened, rows, status, steps


def test_a_run_holds_what_it_was_given(store: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"weights")
    params = {"model": {"width": 64}, **{f"p{number}": number for number in range(250)}}
    tracker = opened(store, params=params, tags={"data.digest": "abc"})
    for step in range(30):
        tracker.metrics({"loss/depth": step / 2, "AP@[.5]": float("nan")}, step=step)
    tracker.image(np.zeros((8, 9, 3), np.uint8), key="grid", step=3)
    tracker.artifact(tmp_path / "model", folder="model")
    tracker.text(f"see http://ann:{SECRET}@host", "notes/words.txt")
    assert tracker.logged_until() == 29
    assert tracker.flush(wait_s=20.0)
    assert status(store, tracker) == "RUNNING"
    tracker.finish("FINISHED")
    tracker.finish("FAILED")  # as an exit hook would

    assert status(store, tracker) == "FINISHED"
    assert steps(store, tracker, "loss/depth") == steps(store, tracker, "AP__.5_") == list(range(30))
    assert rows(store, "select sum(is_nan) from metrics where run_uuid = ? and key = 'AP__.5_'", tracker.run_id) == [
        (30,)
    ]
    assert len(facts(store, tracker, "params")) == 251
    assert facts(store, tracker, "params")["model.width"] == "64"
    assert facts(store, tracker, "tags")["data.digest"] == "abc"
    artifacts = store / "mlartifacts" / tracker.run_id / "artifacts"
    assert (artifacts / "model" / "weights.safetensors").read_bytes() == b"weights"
    assert (artifacts / "notes" / "words.txt").read_text() == "see http://[redacted]@host"
    assert len(list((artifacts / "images").glob("grid+step+3*.png"))) == 1
    assert tracker.command_to_open() == f"depthbox dashboard 'tracking.uri=sqlite:///{store}/mlflow.db'"


def test_the_commit_is_a_tag_inside_a_repository_only(store: Path) -> None:
    here = Path(__file__).parent
    answer = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], cwd=here, capture_output=True, text=True)
    tracker = opened(store)
    tracker.finish("FINISHED")
    commit = facts(store, tracker, "tags").get("mlflow.source.git.commit")
    assert commit == (answer.stdout.strip() if answer.returncode == 0 else None)


def test_a_continued_run_logs_nothing_twice(store: Path) -> None:
    first = opened(store, params={"seed": 1, "steps": 10})
    for step in range(10):
        first.metrics({"a": step, **({"b": step} if step < 5 else {})}, step=step)
    first.image(np.zeros((4, 4, 3), np.uint8), key="grid/val", step=5)
    first.finish("KILLED")

    again = opened(store, run_id=first.run_id, params={"seed": 1, "steps": 20})
    assert (again.run_id, again.logged_until(), status(store, again)) == (first.run_id, 9, "RUNNING")
    for step in range(3, 15):
        again.metrics({"a": -1.0, "b": -1.0}, step=step)
    again.metrics({"a": -2.0}, step=14)
    again.image(np.zeros((4, 4, 3), np.uint8), key="grid/val", step=5)
    again.finish("FINISHED")

    assert steps(store, again, "a") == steps(store, again, "b") == list(range(15))
    assert facts(store, again, "params") == {"seed": "1", "steps": "10"}
    assert facts(store, again, "tags")["param_changed.steps"] == "20"
    assert len(list((store / "mlartifacts" / again.run_id / "artifacts" / "images").glob("*.png"))) == 1
    assert status(store, again) == "FINISHED"


def test_a_released_run_goes_on_in_other_hands(store: Path) -> None:
    driver = opened(store, params={"seed": 1})
    driver.metrics({"a": 0.0}, step=0)
    driver.release()
    worker = opened(store, run_id=driver.run_id)
    driver.finish("FAILED")  # no longer its to end
    worker.metrics({"a": 1.0}, step=1)
    assert (worker.logged_until(), status(store, worker)) == (1, "RUNNING")
    worker.finish("FINISHED")
    assert steps(store, worker, "a") == [0, 1]
    assert (status(store, worker), facts(store, worker, "params")) == ("FINISHED", {"seed": "1"})


def test_a_run_that_is_gone_begins_anew(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = opened(store, run_id="0" * 32)
    tracker.finish("FINISHED")
    assert tracker.logged_until() == -1
    assert facts(store, tracker, "tags")["continues_run"] == "0" * 32
    assert "a new one begins" in caplog.text


def test_points_left_on_disk_by_a_killed_process_are_sent(store: Path) -> None:
    first = opened(store)
    first.metrics({"a": 0.0}, step=0)
    first.finish("KILLED")
    left = [{"run_id": first.run_id, "key": "a", "value": 1.0, "step": 1, "timestamp_ms": 5}]
    other = {"run_id": "f" * 32, "key": "a", "value": 1.0, "step": 1, "timestamp_ms": 5}
    file = store / "mlflow-unsent.jsonl"
    file.write_text("\n".join(json.dumps(entry) for entry in [*left, other]) + '\n{"torn": ')
    again = opened(store, run_id=first.run_id)
    again.metrics({"a": 9.0}, step=1)
    assert again.flush(wait_s=20.0)
    again.finish("FINISHED")
    assert steps(store, again, "a") == [0, 1]
    assert file.read_text().startswith(json.dumps(other))
    file.unlink()


def test_system_readings_arrive(store: Path) -> None:
    tracker = opened(store)
    time.sleep(1.5)
    tracker.finish("FINISHED")
    names = {name for (name,) in rows(store, "select distinct key from metrics where run_uuid = ?", tracker.run_id)}
    assert {"system/cpu_percent", "system/memory_percent", "system/own_memory_gib"} <= names
    assert tracker.logged_until() == -1


def test_no_secret_reaches_the_store(tmp_path: Path, store: Path) -> None:
    params = {
        "tracking": {"uri": f"http://ann:{SECRET}@host", "password": SECRET},
        "deep": [{"secret": SECRET}, f"s3://b?sig={SECRET}"],
        "hub_token": SECRET,
    }
    tracker = opened(store, params=params, tags={"where": f"https://{SECRET}@host/x", "api-key": SECRET})
    tracker.params({"later": f"--uri=http://u:{SECRET}@h"})
    tracker.text(f'{{"password": "{SECRET}"}}', "experiment.json")
    tracker.finish("FINISHED")
    assert len(facts(store, tracker, "params")) == 5
    files = [path for path in store.rglob("*") if path.is_file()]
    assert store / "mlflow.db" in files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_logging_costs_less_than_a_millisecond(store: Path) -> None:
    tracker = opened(store)
    costs = []
    for step in range(500):
        begin = time.perf_counter()
        tracker.metrics({f"loss/{number}": 0.5 for number in range(8)}, step=step)
        costs.append(time.perf_counter() - begin)
    tracker.finish("FINISHED")
    assert np.median(costs) < 1e-3
    assert len(steps(store, tracker, "loss/7")) == 500

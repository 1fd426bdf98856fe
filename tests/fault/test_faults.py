"""What goes wrong in a run on a real local cluster: killed and hung processes, other numbers of workers, clusters that are gone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from dashboard_server import Server
from local_cluster import REPOSITORY, free_port
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data

from depthbox.core.config import flatten, vary
from depthbox.core.errors import InputError
from depthbox.experiment import Experiment
from depthbox.tracking import prepare_store
from depthbox.train.checkpoint import latest_checkpoint
from depthbox.train.launch import run
from depthbox.train.stop import Interrupted

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SGD = {"schedule.optimizer": "sgd", "schedule.learning_rate": 0.01}
"""Adam divides by the gradient's size, and so makes a full step of the rounding noise of a gradient near zero."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def cluster():
    from depthbox.train.ray_launch import start_ray

    start_ray("")
    yield
    ray.shutdown()


def on_ray(data: Path, out: Path, **overrides: object) -> Experiment:
    return tiny_experiment(data, out, launcher="ray", **overrides)


def words(experiment: Experiment) -> list[str]:
    """The command line of an experiment: a driver that can be killed is a process of its own."""
    said = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in flatten(experiment).items()}
    return [f"{name}={value}" for name, value in said.items() if not name.startswith("method")]


class Driver:
    """`depthbox train` in a process of its own, with a Ray of its own."""

    def __init__(self, experiment: Experiment, log: Path) -> None:
        command = [sys.executable, "-m", "depthbox", "train", "box_depth", *words(experiment)]
        with log.open("a") as file:
            env = dict(os.environ) | {"PYTHONPATH": str(REPOSITORY)}
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=file, stderr=file)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def after(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    def wait() -> None:
        deadline = time.monotonic() + 200
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def has_checkpoint(out: Path, step: int) -> bool:
    return (out / "checkpoints" / f"step-{step:08d}" / "state.json").exists()


def done(out: Path) -> int:
    """Steps, as far as a checkpoint says."""
    newest = latest_checkpoint(out)
    return newest.step if newest else 0


def unfinished(out: Path) -> set[Path]:
    return set((out / "checkpoints").glob(".step-*"))


def close(one: Path, other: Path) -> None:
    left, right = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def train_workers() -> list[int]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            found += [process.pid] if "RayTrainWorker" in " ".join(process.cmdline()) else []
    return found


def test_f3_a_killed_driver_goes_on_in_the_same_mlflow_run_without_a_duplicate_step(data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    out, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'm.db'}"
    experiment = vary(on_ray(data, out), {"tracking.uri": uri, "schedule.steps": 12})
    driver = Driver(experiment, tmp_path / "log")
    after(lambda: has_checkpoint(out, 2), driver.process.kill).join()
    assert driver.process.wait(timeout=120) == -signal.SIGKILL, (tmp_path / "log").read_text()
    run_id = json.loads((out / "run.json").read_text())["run_id"]
    again = Driver(experiment, tmp_path / "log")
    assert again.process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    client = MlflowClient(uri)
    assert json.loads((out / "run.json").read_text())["run_id"] == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run_id, "loss/total")] == list(range(1, 13))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_f4_a_stop_request_leaves_a_checkpoint_a_killed_run_and_no_process(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    from mlflow import MlflowClient

    out, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'm.db'}"
    changes = {"tracking.uri": uri, "schedule.steps": 4000, "schedule.checkpoint_every": 2000}
    driver = Driver(vary(on_ray(data, out), changes), tmp_path / "log")
    family: list[psutil.Process] = []

    def stop() -> None:
        family.extend(driver.family())
        driver.process.send_signal(number)

    after(lambda: "step" in (out / "progress.txt").read_text() if (out / "progress.txt").exists() else False, stop)
    assert driver.process.wait(timeout=300) == 130, (tmp_path / "log").read_text()
    assert list((out / "checkpoints").glob("step-*/state.json"))
    run_id = json.loads((out / "run.json").read_text())["run_id"]
    assert MlflowClient(uri).get_run(run_id).info.status == "KILLED"
    _, left = psutil.wait_procs(family, timeout=60)
    assert family and not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]


def test_f2_kills_at_any_point_never_leave_a_torn_checkpoint(data: Path, tmp_path: Path) -> None:
    """The local launcher: a driver that writes its checkpoints itself, killed where it may be, also in the middle of one."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    steps = {"schedule.steps": 24, "schedule.checkpoint_every": 1, "launcher": "local", "data.processes": 0}
    torn = 0
    for attempt in range(3):
        before, due = unfinished(out), done(out) + 2 * attempt
        driver = Driver(vary(on_ray(data, out), steps), tmp_path / "log")
        while driver.process.poll() is None and not (done(out) >= due and unfinished(out) - before):
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        driver.process.kill()
        driver.process.wait()
        torn += bool(unfinished(out) - before)
        newest = latest_checkpoint(out)
        if newest is not None:  # the one that the next attempt goes on from
            assert json.loads((newest.folder / "state.json").read_text())["step"] == newest.step
            assert load_file(newest.evaluated) and load_file(newest.folder / "optimizer.safetensors")
    last = Driver(vary(on_ray(data, out), steps), tmp_path / "log")
    assert last.process.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    uninterrupted = Driver(vary(on_ray(data, whole), steps), tmp_path / "log")
    assert uninterrupted.process.wait(timeout=200) == 0
    left, right = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
    assert torn and all(torch.equal(left[name], right[name]) for name in left)


def test_f11_a_hung_worker_is_found_within_a_minute(cluster, data: Path, tmp_path: Path) -> None:
    out, began = tmp_path / "hung", []

    def hang() -> None:
        os.kill(train_workers()[0], signal.SIGSTOP)
        began.append(time.monotonic())

    thread = after(lambda: has_checkpoint(out, 2), hang)
    run(on_ray(data, out, **SGD, **{"schedule.steps": 40, "schedule.checkpoint_every": 2}))
    thread.join()
    assert time.monotonic() - began[0] < 150  # found in 45 s, and then restarted and trained to its end
    run(vary(on_ray(data, tmp_path / "whole"), {"launcher": "local", **SGD, "schedule.steps": 40}))
    close(out, tmp_path / "whole")


def test_f14_a_tracking_server_that_goes_and_comes_back_loses_no_point(cluster, data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store, out = prepare_store(None, out=tmp_path / "store"), tmp_path / "run"
    servers, went_on = [Server(store, free_port()).ready()], []
    address = servers[0].address

    def go_and_come_back() -> None:
        servers[0].stop()
        gone_at = done(out)
        deadline = time.monotonic() + 60
        while done(out) < gone_at + 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        went_on.append(done(out) - gone_at)
        servers.append(Server(store, int(address.rsplit(":", 1)[1])).ready())

    thread = after(lambda: has_checkpoint(out, 10), go_and_come_back)
    steps = {"schedule.steps": 400, "schedule.checkpoint_every": 10, "schedule.log_every": 1}
    try:
        run(on_ray(data, out, **steps, **{"tracking.uri": address}))
    finally:
        thread.join()
        servers[-1].stop()
    run_id = json.loads((out / "run.json").read_text())["run_id"]
    client = MlflowClient(store)
    assert went_on[0] >= 20, "training waited for the server"
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run_id, "loss/total")] == list(range(1, 401))


def test_f22_other_numbers_of_workers_go_on_with_the_same_batches(cluster, data: Path, tmp_path: Path) -> None:
    # Small steps: over sixteen of them at 0.01 the order of a sum grows to a thousandth of a weight.
    settings = {**SGD, "schedule.learning_rate": 0.001, "schedule.checkpoint_every": 1, "schedule.steps": 16}
    out = tmp_path / "changing"
    for workers in (2, 1):
        due = done(out) + 2
        stop = after(lambda due=due: done(out) >= due, (out / "stop").touch)
        with pytest.raises(Interrupted):
            run(on_ray(data, out, workers=workers, **settings))
        stop.join()
    run(on_ray(data, out, workers=2, **settings))
    # The loop itself refuses a step that is not due; equal ends mean equal batches.
    run(vary(on_ray(data, tmp_path / "one"), {"launcher": "local", **settings}))
    close(tmp_path / "one", out)


def test_f23_every_validation_image_is_scored_once_where_they_do_not_divide(cluster, tmp_path: Path) -> None:
    data = write_tiny_data(tmp_path / "five", images=5)
    # An untrained network is sure of nothing, and everything it says counts.
    all_said = {"inference.score_threshold": 0.0, "inference.min_score": 0.0}
    still = {"schedule.learning_rate": 0.0, "schedule.weight_decay": 0.0, "schedule.steps": 1, **all_said}
    scored = []
    for workers in (1, 2):
        out = tmp_path / f"by-{workers}"
        run(on_ray(data, out, workers=workers, batch_size=2, **still))
        found = json.loads((out / "detections.json").read_text())
        scored.append(sorted((row["image_id"], row["category_id"], round(row["score"], 3)) for row in found))
    assert {row[0] for row in scored[0]} == {1, 2, 3, 4, 5}
    assert scored[0] == scored[1]


def test_f25_a_cluster_that_is_gone_is_said_at_once(tmp_path: Path, data: Path) -> None:
    driver = Driver(vary(on_ray(data, tmp_path / "run"), {"ray.address": f"127.0.0.1:{free_port()}"}), tmp_path / "log")
    assert driver.process.wait(timeout=200) == 1
    said = (tmp_path / "log").read_text()
    assert "no Ray cluster answers" in said and "Traceback" not in said  # after a minute Ray has words of its own


def test_f25_the_note_of_a_cluster_that_is_gone_is_not_followed(
    data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # a socket's path has room for 107 letters
        (Path(short) / "ray").mkdir()
        (Path(short) / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{free_port()}")
        monkeypatch.setenv("RAY_TMPDIR", short)
        driver = Driver(vary(on_ray(data, tmp_path / "run"), {"schedule.steps": 1}), tmp_path / "log")
        assert driver.process.wait(timeout=240) == 0, (tmp_path / "log").read_text()


def test_f18_a_worker_that_fits_no_machine_is_refused(cluster, data: Path, tmp_path: Path) -> None:
    cpus = ray.cluster_resources()["CPU"]
    began = time.monotonic()
    with pytest.raises(InputError, match=f"does not fit this cluster.*of {cpus:g} CPU"):
        run(on_ray(data, tmp_path / "run", **{"ray.worker_cpus": cpus + 1}))
    assert time.monotonic() - began < 5

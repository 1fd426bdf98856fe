"""The main job on a real local Ray cluster: one cluster and one tiny data set for the module."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data
from weights import same_weights

from depthbox.core.config import vary
from depthbox.core.errors import InputError
from depthbox.train.launch import run

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


def on_ray(data: Path, out: Path, **overrides):
    return tiny_experiment(
        data, out, launcher="ray", **{"depth.source": "builtin", "depth.cache": str(data / "cache"), **overrides}
    )


def curve(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(m.step, m.value) for m in MlflowClient(uri).get_metric_history(run_id, key)]


@pytest.fixture(scope="module")
def cold(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """The uninterrupted run the others are held against; its cache starts empty."""
    out = tmp_path_factory.mktemp("runs") / "cold"
    return run(vary(on_ray(data, out), {"tracking.uri": f"sqlite:///{out}.db"})), out


def test_a_cold_run_infers_every_image_once_and_ends_finished(cold) -> None:
    result, out = cold
    assert result.counters == {
        "depth_inferences": 6,
        "cache_hits": 6,
        "rows_in": 6,
        "rows_ok": 6,
        "rows_quarantined": 0,
    }
    from mlflow import MlflowClient

    entry = MlflowClient(f"sqlite:///{out}.db").get_run(result.run_id)
    assert entry.info.status == "FINISHED"
    assert [step for step, _ in curve(f"sqlite:///{out}.db", result.run_id, "loss/projection")] == [1, 2, 3, 4, 5, 6]
    assert result.picture is not None and result.picture.exists()


def test_ray_and_local_give_equal_losses_and_weights(cold, data: Path, tmp_path: Path) -> None:
    _, out = cold
    run(vary(on_ray(data, tmp_path / "local"), {"launcher": "local"}))
    assert same_weights(out, tmp_path / "local")


@pytest.mark.slow
def test_a_second_run_infers_nothing(cold, data: Path, tmp_path: Path) -> None:
    result = run(on_ray(data, tmp_path / "warm", seed=0))
    assert result.counters["depth_inferences"] == 0 and result.counters["cache_hits"] == 12
    assert same_weights(cold[1], tmp_path / "warm")


def test_two_workers_agree_with_one_up_to_float_order(cold, data: Path, tmp_path: Path) -> None:
    # SGD: Adam divides by the gradient's size, and so makes a full step of the rounding noise of a gradient near zero.
    sgd = {"schedule.optimizer": "sgd", "schedule.learning_rate": 0.01}
    run(vary(on_ray(data, tmp_path / "one", **sgd), {"launcher": "local"}))
    run(on_ray(data, tmp_path / "two", workers=2, **sgd))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    scored = json.loads((tmp_path / "two" / "result.json").read_text())["scores"]
    assert "mask_ap" in scored


@pytest.mark.slow
def test_a_killed_worker_is_restarted_and_the_end_is_the_same(cold, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    killer = threading.Thread(target=_kill_when, args=(out / "checkpoints" / "step-00000002" / "state.json",))
    killer.start()
    run(vary(on_ray(data, out), {"tracking.uri": f"sqlite:///{out}.db"}))
    killer.join()
    assert same_weights(cold[1], out)
    run_id = json.loads((out / "run.json").read_text())["run_id"]
    assert [step for step, _ in curve(f"sqlite:///{out}.db", run_id, "loss/projection")] == [1, 2, 3, 4, 5, 6]


def _kill_when(checkpoint: Path) -> None:
    while not checkpoint.exists():
        time.sleep(0.01)
    for process in _processes("RayTrainWorker"):
        os.kill(process, signal.SIGKILL)


def _processes(title: str) -> list[int]:
    import psutil

    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(title in word for word in p.info["cmdline"] or [])]


@pytest.mark.slow
def test_the_actor_pool_is_in_the_statistics_and_survives_a_killed_actor(data: Path, tmp_path: Path) -> None:
    from depthbox.data.shape import StreamShape
    from depthbox.data.stream import build_stream
    from depthbox.train.prepare import prepare

    job = prepare(on_ray(data, tmp_path / "stats", **{"depth.cache": str(tmp_path / "cache")}))
    stream = build_stream(
        job.source,
        job.depth,
        range(24),
        StreamShape(world_size=1, task_cpus=0.25, depth_actors=1, depth_actor_cpus=0.25),
    )
    seen = []
    for batch in stream.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
        import pickle

        seen.append(pickle.loads(batch["pack"][0]).step)
        if len(seen) == 1:
            for process in _processes("DepthActor"):
                os.kill(process, signal.SIGKILL)
    assert seen == list(range(24))
    assert "BackgroundDepthActor" in stream.stats()


def test_more_than_the_cluster_has_is_refused_with_the_arithmetic(data: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"does not fit.*workers 64"):
        run(on_ray(data, tmp_path / "huge", workers=2, **{"ray.worker_cpus": 32.0}))
    assert time.monotonic() - began < 5


def test_the_workers_python_is_the_drivers() -> None:
    import sys

    @ray.remote(num_cpus=0.1)
    def executable() -> str:
        return sys.executable

    assert ray.get(executable.remote()) == sys.executable

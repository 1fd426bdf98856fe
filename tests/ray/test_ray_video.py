"""Depth from video on a real local Ray cluster: the same stream, the same loop, the same bits as without Ray."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_video import tiny_sde, write_tiny_video

from depthbox.core.errors import InputError
from depthbox.train.launch import run

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_video(tmp_path_factory.mktemp("video"))


def test_ray_and_the_local_launcher_end_at_the_same_bits_with_curves_in_mlflow(data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'm.db'}"
    found = run(tiny_sde(data, tmp_path / "ray", launcher="ray", **{"tracking.uri": uri}))
    alone = run(tiny_sde(data, tmp_path / "alone"))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("ray", "alone"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert found.scores == alone.scores and found.counters == alone.counters
    client = MlflowClient(uri)
    for key in ("loss/photometric", "loss/smoothness", "disparity_spread", "moved_share"):
        assert [m.step for m in client.get_metric_history(found.run_id, key)] == [1, 2, 3, 4, 5, 6]
    assert client.get_metric_history(found.run_id, "val/abs_rel")[-1].value == found.scores["abs_rel"]


@pytest.mark.slow
def test_two_workers_agree_with_one(data: Path, tmp_path: Path) -> None:
    settings = {"ray.threads": 1, "data.views.flip": 0.0}
    one = run(tiny_sde(data, tmp_path / "one", launcher="ray", **settings))
    two = run(tiny_sde(data, tmp_path / "two", launcher="ray", workers=2, **settings))
    assert two.scores["abs_rel"] == pytest.approx(one.scores["abs_rel"], rel=1e-3)


def test_an_error_of_the_video_is_said_before_workers_start(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        run(tiny_sde(data, tmp_path / "out", launcher="ray", **{"data.train.sequences": "nothing"}))

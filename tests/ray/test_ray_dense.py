"""depth_ssda on a real local Ray cluster: the bits of the run without Ray, curves of its diagnostics, two workers that agree with one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_dense import tiny_dense, write_tiny_dense

from depthbox.train.launch import run

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)

OTHER = {"data.source.images": "other/photos", "data.source.labels": "other/labels", "data.source_share": 0.5, "data.labelled_share": 0.25}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dense(tmp_path_factory.mktemp("semantic"))


def test_ray_and_the_local_launcher_end_at_the_same_bits_with_curves_in_mlflow(data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'm.db'}"
    settings = {"method.cross_domain": True, "data.pairing": "geometry", **OTHER}
    found = run(tiny_dense(data, tmp_path / "ray", launcher="ray", **settings, **{"tracking.uri": uri}))
    alone = run(tiny_dense(data, tmp_path / "alone", **settings))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("ray", "alone"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert found.scores == alone.scores
    client = MlflowClient(uri)
    curves = ("loss/labelled_ce", "loss/source_ce", "loss/mixed_ce", "loss/cross_domain_ce", "mixed/q", "mixed/taught_share", "mixed/own_share", "pseudo/confident_share", "pseudo/accuracy")  # fmt: skip
    for key in curves:
        assert [m.step for m in client.get_metric_history(found.run_id, key)] == [1, 2, 3, 4, 5, 6], key
    for key, steps in (("val/miou", [2, 4, 6]), ("val/iou/red", [2, 4, 6]), ("val/best_miou", [6])):
        assert [m.step for m in client.get_metric_history(found.run_id, key)] == steps, key
    assert client.get_metric_history(found.run_id, "val/miou")[-1].value == found.scores["miou"]
    kept = {file.path for file in client.list_artifacts(found.run_id, "images")}
    assert any("mixtures" in path for path in kept) and any("predictions" in path for path in kept)


@pytest.mark.slow
def test_two_workers_agree_with_one(data: Path, tmp_path: Path) -> None:
    settings = {"ray.threads": 1, "batch_size": 8}
    one = run(tiny_dense(data, tmp_path / "one", launcher="ray", **settings))
    two = run(tiny_dense(data, tmp_path / "two", launcher="ray", workers=2, **settings))
    assert two.scores["miou"] == pytest.approx(one.scores["miou"], abs=0.01)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-2, atol=2e-3)

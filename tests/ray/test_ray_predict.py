"""`depthbox predict --ray`: the same results as in one process, from a bucket, past a photo that cannot be read."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import depthbox
from s3_server import CREDENTIALS, s3_server
from tiny_data import tiny_experiment, write_tiny_data
from tiny_dense import tiny_dense, write_tiny_dense

from depthbox.train.launch import run

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "boxes"
    run(tiny_experiment(data, out, **{"data.processes": 0, "schedule.steps": 20, "schedule.learning_rate": 0.01}))
    return out


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its workers have the credentials of the bucket from the start."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        from depthbox.train.ray_launch import start_ray

        start_ray("")
        yield
        ray.shutdown()


@pytest.mark.slow
def test_a_bucket_on_ray_gives_what_a_folder_gives_here(trained: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("moto", reason="the S3 server of the tests")
    photos = shutil.copytree(data / "val", tmp_path / "photos")
    (photos / "002.png").write_bytes(b"")
    words = ["score=0.01", "device=cpu", "precision=float32", "batch_size=2", "--json"]
    here = depthbox("predict", trained, photos, "--out", tmp_path / "here", *words)
    assert here.status == 0, here.err
    with s3_server(tmp_path) as server:
        there = depthbox(
            "predict",
            trained,
            server.fill("photos", photos),
            "--out",
            tmp_path / "there",
            "--ray",
            "ray.actor_cpus=0.5",
            *words,
        )
    assert there.status == 0, there.err
    assert there.json["rows_quarantined"] == here.json["rows_quarantined"] == 1
    one, other = (json.loads((tmp_path / name / "detections.json").read_text()) for name in ("here", "there"))
    assert len(one) == len(other) > 5
    for a, b in zip(one, other, strict=True):
        assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"]) and a["score"] == pytest.approx(
            b["score"], abs=1e-4
        )
    assert len(list((tmp_path / "there/overlays").iterdir())) == 5


@pytest.mark.slow
def test_label_maps_are_those_of_one_process(tmp_path: Path) -> None:
    streets = write_tiny_dense(tmp_path / "streets")
    run(tiny_dense(streets, tmp_path / "run", **{"method.mixing": "class", "schedule.evaluate_every": 0}))
    photos = streets / "val/photos"
    (photos / "p_01.png").write_bytes(b"")
    words = ["device=cpu", "precision=float32", "batch_size=1", "window=32", "--json"]
    here = depthbox("predict", tmp_path / "run", photos, "--out", tmp_path / "here", *words)
    share = ["--ray", "ray.actor_cpus=0.5"]
    there = depthbox("predict", tmp_path / "run", photos, "--out", tmp_path / "there", *share, *words)
    assert (here.status, there.status) == (0, 0), here.err + there.err
    assert there.json["rows_quarantined"] == here.json["rows_quarantined"] == 1
    for name in ("label_maps/p_00.png", "label_maps/p_02.png", "label_maps.json"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_more_than_the_cluster_has_is_refused_at_once(trained: Path, data: Path, tmp_path: Path) -> None:
    answer = depthbox("predict", trained, data / "val", "--out", tmp_path / "o", "--ray", "ray.actors=64")
    assert answer.status == 1 and "64 actors ask for 64 CPU" in answer.err.splitlines()[-1]

"""Labelled and unlabelled images in one step on a real local Ray cluster: the packs and the weights of the local launcher."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from photo_packs import assert_same
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data

from depthbox.supervision.config import FullConfig
from depthbox.train.launch import run
from depthbox.train.prepare import prepare

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_data(tmp_path_factory.mktemp("tiny"))
    (folder / "split.txt").write_text("2\n5\n")
    (folder / "boxed.txt").write_text("1\n3\n")
    write_tiny_data(folder / "more", images=3, size_hw=(72, 90))
    shutil.copytree(folder / "more" / "val", folder / "bare")
    (folder / "bare" / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(autouse=True)
def every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FullConfig, "learns_from", ("masks", "boxes", "none"))


def mixed(data: Path, out: Path, **settings):
    words = {
        "data.train.labelled": "split.txt", "data.unlabelled.images": "bare", "data.labelled_share": 0.5,
        "batch_size": 4, "data.quarantine_share": 0.5, "launcher": "ray",
    }  # fmt: skip
    return tiny_experiment(data, out, "full", **words | settings)


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_shards_are_the_packs_of_the_local_launcher(data: Path, tmp_path: Path, world_size: int) -> None:
    from depthbox.data.local import local_batches
    from depthbox.data.shape import StreamShape
    from depthbox.data.stream import build_stream

    boxed = {"data.train.boxed": "boxed.txt", "data.boxed_share": 0.25, "data.labelled_share": 0.25, "batch_size": 8}
    job = prepare(mixed(data, tmp_path, workers=world_size, **boxed))
    shape = StreamShape(world_size=world_size, task_cpus=0.25, depth_actors=0, depth_actor_cpus=0)
    whole = list(local_batches(job.source, None, range(3, 9), processes=0))
    stream = build_stream(job.source, None, range(3, 9), shape)
    packs = [
        pickle.loads(row["pack"][0])
        for row in stream.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0)
    ]
    for one in whole:
        mine = [pack for pack in packs if pack.step == one.step]
        assert len(mine) == world_size
        for rank, part in enumerate(mine):
            slots = job.source.plan.share(rank, world_size)
            assert sorted(part.supervision) == sorted(["masks", "boxes", "none", "none"] * (2 // world_size))
            expected = job.source.pack(job.source.decode([one.step] * len(slots), list(slots)))
            assert_same(replace(part, outcome=expected.outcome), expected)
            assert part.image_ids == one.image_ids[slots.start : slots.stop]


@pytest.mark.slow
def test_ray_and_local_give_equal_weights_and_the_broken_photo_is_named(data: Path, tmp_path: Path) -> None:
    there = run(mixed(data, tmp_path / "ray"))
    here = run(mixed(data, tmp_path / "local", launcher="local"))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("ray", "local"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert there.counters == here.counters and there.counters["rows_quarantined"] == 1


@pytest.mark.slow
def test_two_workers_agree_with_one_up_to_float_order(data: Path, tmp_path: Path) -> None:
    sgd = {"schedule.optimizer": "sgd", "schedule.learning_rate": 0.01, "schedule.steps": 3}
    run(mixed(data, tmp_path / "one", launcher="local", **sgd))
    run(mixed(data, tmp_path / "two", workers=2, **sgd))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)

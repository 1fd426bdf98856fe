"""Semantic data on a real local Ray cluster: the packs of the local launcher, with labels, neighbours, disparity and pairs."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_packs import assert_same
from tiny_semantic import tiny_source, write_labelled_video

from depthbox.data.local import local_batches
from depthbox.data.shape import DepthSetup, StreamShape
from depthbox.data.source import Packed
from depthbox.experiment import Experiment
from depthbox.supervision.config import FullConfig
from depthbox.train.job import Job

ray = pytest.importorskip("ray", reason="the Ray path needs ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_labelled_video(tmp_path_factory.mktemp("video"))
    (folder / "two.txt").write_text("seq_0/frame_001\nseq_1/frame_003\n")
    return folder


def a_job(data: Path, out: Path, *, workers: int) -> Job:
    settings: dict[str, object] = {
        "data.train.images": "seq_[01]/frame_*.png", "data.train.labels": "seq_[01]/semantic_*.png", "data.train.labelled": "two.txt",
        "data.source.images": "seq_2/frame_*.png", "data.source.labels": "seq_2/semantic_*.png", "data.gap": 1, "data.views.crop": 32,
        "data.views.short_side": 64, "data.labelled_share": 0.25, "data.source_share": 0.5, "data.pairing": "geometry", "data.views.jitter": 0.3,
        "batch_size": 8, "workers": workers,
    }  # fmt: skip
    source = replace(tiny_source(data, **settings), frames_hw=(64, 96))
    cache = str(out / "cache")
    depth = DepthSetup(spec="builtin", cache_folder=cache, device="cpu", maps_kind="depth_mm", maps_zero="far")
    experiment = Experiment(method=FullConfig(), out=str(out))
    return Job(experiment=experiment, source=source, val=None, depth=depth, out=out, run_id="")


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_shards_are_the_packs_of_the_local_launcher(data: Path, tmp_path: Path, world_size: int) -> None:
    from depthbox.data.stream import build_stream
    from depthbox.train.pairing import with_outlines
    from depthbox.train.ray_launch import driver_packs

    shape = StreamShape(world_size=world_size, task_cpus=0.25, depth_actors=1, depth_actor_cpus=0.25)
    bare = a_job(data, tmp_path, workers=world_size)
    job = with_outlines(bare, lambda source, steps: driver_packs(bare.depth, shape, source, steps))
    (tmp_path / "outlines.npz").unlink()
    again = with_outlines(bare, lambda source, steps: local_batches(source, bare.depth, steps, processes=0))
    assert np.array_equal(job.source.plan.outlines, again.source.plan.outlines, equal_nan=True)  # type: ignore[union-attr]
    whole = list(local_batches(job.source, job.depth, range(2, 5), processes=0))
    stream = build_stream(job.source, job.depth, range(2, 5), shape)
    packs = [pickle.loads(row["pack"][0]) for row in stream.iter_batches(batch_size=1, batch_format="numpy")]
    assert len(packs) == 3 * world_size
    for one in whole:
        mine = [pack for pack in packs if pack.step == one.step]
        for rank, part in enumerate(mine):
            slots = job.source.plan.share(rank, world_size)
            assert sorted(part.supervision) == sorted(["labels", "none", "source", "source"] * (2 // world_size))
            assert_same(replace(part, outcome=one.outcome), share_of(one, slots))


def share_of(pack: Packed, slots: range) -> Packed:
    """What a rank's pack holds of the whole batch."""
    cut = slice(slots.start, slots.stop)
    names = (
        "weak",
        "strong",
        "disparity",
        "sizes_hw",
        "boxes",
        "labels",
        "image_ids",
        "supervision",
        "semantic",
        "semantic_truth",
    )
    assert pack.frames is not None
    frames = replace(
        pack.frames, **{name: getattr(pack.frames, name)[cut] for name in ("plain", "strong", "intrinsics")}
    )
    return replace(pack, **{name: getattr(pack, name)[cut] for name in names}, frames=frames)


def test_the_cluster_fills_the_cache_that_a_run_finds(data: Path, tmp_path: Path) -> None:
    from depthbox.experiment import DepthConfig, RayConfig, SemanticDataConfig, SemanticTrainConfig
    from depthbox.train.fill_cache import fill_cache

    photos = SemanticDataConfig(root=str(data), train=SemanticTrainConfig(images="seq_*/frame_*.png"))
    depth = DepthConfig(cache=str(tmp_path / "cache"))
    asked = {"ray": RayConfig(), "out": tmp_path, "say": print}
    first = fill_cache(photos, depth, launcher="ray", **asked)  # type: ignore[arg-type]
    assert (first.images, first.inferences, first.hits, first.unreadable) == (18, 18, 0, ())
    again = fill_cache(photos, depth, launcher="local", **asked)  # type: ignore[arg-type]
    assert (again.inferences, again.hits) == (0, 18)

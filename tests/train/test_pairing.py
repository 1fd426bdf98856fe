"""Outlines for pairing by geometry: made once, through the run's own depth stage and its cache."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_dense import tiny_dense, write_tiny_dense
from tiny_semantic import RENDERED, tiny_source, write_tiny_semantic

from depthbox.core.errors import UsageError
from depthbox.data.local import local_batches
from depthbox.data.pairing import GeometryPlan
from depthbox.data.shape import DepthSetup
from depthbox.experiment import Experiment
from depthbox.supervision.config import FullConfig
from depthbox.train.job import Job
from depthbox.train.launch import run
from depthbox.train.pairing import with_outlines


def test_outlines_are_made_once_through_the_depth_stage_and_its_cache(tmp_path: Path):
    write_tiny_semantic(tmp_path, photos=4, seed=7, images="rendered", labels="rendered_labels")
    write_tiny_semantic(tmp_path)
    source = tiny_source(
        tmp_path, **{"data.labelled_share": 0.5, "data.source_share": 0.5, "data.pairing": "geometry"}, **RENDERED
    )
    unread = source.data.records[2]
    Path(unread.path).write_bytes(b"no photo")
    depth = DepthSetup(
        spec="builtin", cache_folder=str(tmp_path / "cache"), device="cpu", maps_kind="depth_mm", maps_zero="far"
    )
    experiment = Experiment(method=FullConfig(), out=str(tmp_path))
    job = Job(experiment=experiment, source=source, val=None, depth=depth, out=tmp_path, run_id="")
    looked: list[int] = []

    def stream(source, steps):
        for pack in local_batches(source, depth, steps, processes=0):
            looked.append(pack.outcome.inferences)
            yield pack

    plan = with_outlines(job, stream).source.plan
    assert isinstance(plan, GeometryPlan) and plan.outlines is not None and plan.outlines.shape == (10, 32, 64)
    assert np.isnan(plan.outlines[2]).all() and np.isfinite(np.delete(plan.outlines, 2, 0)).all()
    assert sum(looked) == 9
    again = with_outlines(job, partial(local_batches, depth=None, processes=0)).source.plan
    assert isinstance(again, GeometryPlan) and again.outlines is not None
    assert np.array_equal(again.outlines, plan.outlines, equal_nan=True)
    (pack,) = local_batches(replace(source, plan=plan), depth, range(1), processes=0)
    assert pack.outcome.inferences == 0 and pack.outcome.hits == 4, "what was looked at is in the cache"
    with pytest.raises(UsageError, match="set depth.source"):
        with_outlines(replace(job, depth=None), stream)


def test_a_run_pairs_by_geometry_and_infers_every_photo_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write_tiny_dense(tmp_path / "data")
    settings = {
        "data.source.images": "other/photos", "data.source.labels": "other/labels", "data.source_share": 0.5, "data.labelled_share": 0.25,
        "method.cross_domain": True, "data.pairing": "geometry", "schedule.steps": 3, "depth.cache": str(tmp_path / "cache"),
    }  # fmt: skip
    with caplog.at_level("INFO", logger="depthbox"):
        found = run(tiny_dense(data, tmp_path / "run", **settings))
    assert "pairing: looked at the depth of 10 images, 10 of them anew" in caplog.text
    assert found.counters["depth_inferences"] == 0 and found.counters["cache_hits"] == 12
    plain = run(tiny_dense(data, tmp_path / "plain", **settings | {"data.pairing": "random"}))
    assert plain.counters["depth_inferences"] == 0 and plain.scores != found.scores

"""The picture of a run shows what its depth says, wherever the depth comes from."""

from pathlib import Path

import numpy as np
import pytest
from small_runs import SMALL, make_data, paths

from depthbox.commands.train import resolved
from depthbox.train import pictures
from depthbox.train.prepare import prepare

WRITTEN_UNDER = pictures.image_grid


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


def rows_of(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *words: str):
    """The rows of the picture of a run that has found nothing."""
    job = prepare(resolved("box_depth", [*paths(data), *SMALL, f"out={out}", "tracking.uri=none", *words]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "detections.json").write_text("[]")
    drawn = []
    monkeypatch.setattr(
        pictures, "image_grid", lambda rows, *a, **k: drawn.extend(rows) or WRITTEN_UNDER(rows, *a, **k)
    )
    picture = pictures.picture_of_run(job)
    assert picture is not None and picture.is_file()
    return drawn


def test_maps_belong_to_training_photos_and_are_shown_beside_them(data, tmp_path, monkeypatch):
    rows = rows_of(data, tmp_path, monkeypatch, "depth.source=maps:train/depth")
    assert [row.disparity is not None for row in rows] == [False] * 3 + [True] * 3
    for row in rows[3:]:
        assert row.truth.path.startswith(str(data / "train")) and row.depth_edges.shape == (16, 24)
        assert 0 < row.depth_edges.mean() < 1


def test_maps_are_read_as_the_run_read_them(data, tmp_path, monkeypatch):
    """The same files, nearer where brighter: upside down, and their zeros are holes."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for photo in (data / "train/photos").iterdir():
        ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[:, None], 96, 1)
        np.save(folder / f"{photo.stem}.npy", ramp)
    words = (f"depth.source=maps:{folder}", "depth.maps.kind=disparity", "depth.maps.zero=missing")
    row = rows_of(data, tmp_path / "o", monkeypatch, *words)[3]
    assert np.isnan(row.disparity[0]).all() and row.disparity[-1, 0] == 1 > row.disparity[1, 0]


def test_a_disturbed_map_is_shown_as_the_run_learns_from_it(data, tmp_path, monkeypatch):
    exact = rows_of(data, tmp_path / "a", monkeypatch, "depth.source=maps:train/depth")[3]
    coarse = rows_of(data, tmp_path / "b", monkeypatch, "depth.source=maps:train/depth", "depth.disturb.levels=3")[3]
    assert len(np.unique(exact.disparity)) > 3 == len(np.unique(coarse.disparity))


def test_a_network_says_the_depth_of_validation_photos(data, tmp_path, monkeypatch):
    rows = rows_of(data, tmp_path, monkeypatch, "depth.source=builtin")
    assert len(rows) == 3 and all(row.disparity is not None and row.depth_edges is not None for row in rows)


def test_without_depth_there_is_none(data, tmp_path, monkeypatch):
    rows = rows_of(data, tmp_path, monkeypatch, "depth.source=none")
    assert len(rows) == 3 and all(row.disparity is None and row.depth_edges is None for row in rows)

"""`model.init`: what a depth network gives a semantic one is taken, told, and refused where nothing fits; an earlier run of its own too."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_dense import SEVERAL_TASKS, tiny_dense, write_tiny_dense
from tiny_video import tiny_sde, write_tiny_video

from depthbox.core.errors import InputError
from depthbox.train.launch import run
from depthbox.train.prepare import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

CLASS = {"method.mixing": "class"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dense(tmp_path_factory.mktemp("semantic"))


@pytest.fixture(scope="module")
def depth_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    video = write_tiny_video(tmp_path_factory.mktemp("video"))
    return run(tiny_sde(video, tmp_path_factory.mktemp("sde") / "run", **{"schedule.steps": 2})).out


def test_a_depth_network_is_where_it_starts(data: Path, depth_run: Path, tmp_path: Path, caplog) -> None:
    settings = {"model.init": str(depth_run), "schedule.steps": 1, "schedule.learning_rate": 0.0, **CLASS}
    with caplog.at_level(logging.INFO, logger="depthbox"):
        found = run(tiny_dense(data, tmp_path / "run", **settings))
    assert "taken: backbone, decoder; new: classifier" in caplog.text
    started, depth = (load_file(folder / "model.safetensors") for folder in (found.out, depth_run))
    assert torch.equal(started["decoder.joins.2.0.weight"], depth["decoder.joins.2.0.weight"])
    with caplog.at_level(logging.INFO, logger="depthbox"):
        prepare(tiny_dense(data, tmp_path / "other", **{"model.init": str(depth_run), "model.width": 16, **CLASS}))
    assert "taken: backbone; taken in part: decoder" in caplog.text
    with caplog.at_level(logging.INFO, logger="depthbox"):
        prepare(tiny_dense(data, tmp_path / "both", **{"model.init": str(depth_run), **SEVERAL_TASKS}))
    assert "backbone, decoder, depth_decoder, pose_backbone, pose_head" in caplog.text
    with pytest.raises(InputError, match=r"shares no backbone weight.*model\.backbone=mobilenetv2_100"):
        prepare(
            tiny_dense(data, tmp_path / "no", **{"model.init": str(depth_run), "model.backbone": "mobilenetv2_100"})
        )


def test_an_earlier_run_starts_one_with_other_classes(data: Path, tmp_path: Path, caplog) -> None:
    first = run(tiny_dense(data, tmp_path / "first", **CLASS, **{"schedule.steps": 1}))
    with caplog.at_level(logging.INFO, logger="depthbox"):
        prepare(tiny_dense(data, tmp_path / "same", **CLASS, **{"model.init": str(first.out)}))
    assert "taken: backbone, decoder, classifier" in caplog.text
    with caplog.at_level(logging.INFO, logger="depthbox"):
        prepare(tiny_dense(data, tmp_path / "two", **{"model.init": str(first.out), **SEVERAL_TASKS}))
    assert "taken: backbone, decoder; new: classifier" in caplog.text


def test_a_run_is_found_by_its_id_in_the_store(data: Path, tmp_path: Path) -> None:
    store = {"tracking.uri": f"sqlite:///{tmp_path / 'm.db'}"}
    first = run(tiny_dense(data, tmp_path / "first", **CLASS, **store, **{"schedule.steps": 1}))
    weights = load_file(first.out / "model.safetensors")
    shutil.rmtree(first.out)
    settings = {"model.init": first.run_id, "schedule.steps": 1, "schedule.learning_rate": 0.0, **CLASS, **store}
    second = load_file(run(tiny_dense(data, tmp_path / "second", **settings)).out / "model.safetensors")
    assert torch.equal(second["decoder.joins.2.0.weight"], weights["decoder.joins.2.0.weight"])
    with pytest.raises(InputError, match="nor the id of a run"):
        prepare(tiny_dense(data, tmp_path / "none", **settings | {"model.init": "0" * 32}))

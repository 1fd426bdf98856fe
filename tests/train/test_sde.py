"""Depth from video as a whole run: resume to the bit, scores, a picture, and what it is good for: the depth of another run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_data import tiny_experiment, write_tiny_data
from tiny_video import tiny_sde, write_tiny_video
from weights import same_weights

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.estimator import build_estimator
from depthbox.depth.trained import TrainedDepth
from depthbox.supervision.build import build_method
from depthbox.train.checkpoint import latest_checkpoint
from depthbox.train.context import RunContext
from depthbox.train.inputs import depth_spec
from depthbox.train.launch import run
from depthbox.train.prepare import prepare
from depthbox.train.saved import open_run_folder
from depthbox.train.state import initial_model
from depthbox.train.stop import Interrupted
from depthbox.train.watch import FlatDepthWatch

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_video(tmp_path_factory.mktemp("video"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory):
    return run(tiny_sde(data, tmp_path_factory.mktemp("sde") / "run"))


def test_scores_beside_the_prior_a_picture_and_words_about_scale(finished):
    answer = finished.as_json()
    assert {"spearman", "abs_rel", "rmse", "a1", "prior_spearman", "prior_abs_rel"} <= answer.keys()
    assert "mask_ap" not in answer and answer["rows_in"] == answer["rows_ok"] == 4
    assert "scaled so that its median is that of its truth" in finished.note
    assert finished.picture is not None and finished.picture.is_file()


@pytest.mark.parametrize(("distance", "init"), [(0.0, False), (0.01, False), (0.01, True)])
def test_a_stopped_run_goes_on_to_the_same_bits(
    data: Path, tmp_path: Path, monkeypatch, distance: float, init: bool
) -> None:
    settings: dict[str, object] = {"method.weights.feature_distance": distance}
    if distance:  # needs weights to stay near to
        settings |= {"model.backbone": "mobilenetv2_100", "model.weights": "builtin"}
    if init:
        settings["model.init"] = str(run(tiny_sde(data, tmp_path / "phase_one", **settings)).out)
    run(tiny_sde(data, tmp_path / "whole", **settings))
    asked = iter([False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(tiny_sde(data, tmp_path / "cut", **settings))
    cut = latest_checkpoint(tmp_path / "cut")
    assert cut is not None and cut.step == 3
    run(tiny_sde(data, tmp_path / "cut", **settings))
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


def test_the_encoder_that_distance_is_measured_from_drops_nothing(data: Path, tmp_path: Path) -> None:
    settings = {
        "model.backbone": "mobilenetv2_100",
        "model.weights": "builtin",
        "method.weights.feature_distance": 0.01,
    }
    experiment = tiny_sde(data, tmp_path, **settings)
    student = initial_model(experiment, classes=()).train()
    (kept,) = build_method(experiment.method, student, steps=1, depth=False).modules().values()
    assert not any(part.training for part in kept.modules()) and student.backbone.training


@pytest.mark.parametrize("dilated", [False, True])
def test_distance_is_measured_from_the_pretrained_encoder_after_another_run(
    data: Path, tmp_path: Path, dilated: bool
) -> None:
    settings = {
        "model.backbone": "mobilenetv2_100",
        "model.weights": "builtin",
        "model.dilated": dilated,
        "method.weights.feature_distance": 0.01,
    }
    student = initial_model(tiny_sde(data, tmp_path, **settings), classes=())
    pretrained = {name: tensor.clone() for name, tensor in student.backbone.state_dict().items()}
    moved = {name: t + 0.01 * t.is_floating_point() for name, t in student.state_dict().items()}
    save_file(moved, tmp_path / "phase_one.safetensors")
    experiment = tiny_sde(data, tmp_path, **settings, **{"model.init": str(tmp_path / "phase_one.safetensors")})
    student = initial_model(experiment, classes=())
    drawn = torch.get_rng_state()
    (kept,) = build_method(experiment.method, student, steps=1, depth=False).modules().values()
    found, begun = kept.state_dict(), student.backbone.state_dict()
    assert found.keys() == pretrained.keys() and all(torch.equal(found[name], pretrained[name]) for name in found)
    assert not any(torch.equal(found[name], begun[name]) for name in found if found[name].is_floating_point())
    assert not any(part.training for part in kept.modules()) and not any(p.requires_grad for p in kept.parameters())
    assert torch.equal(drawn, torch.get_rng_state())
    images = torch.rand(1, 3, 64, 64)
    assert [f.shape for f in kept(images)] == [f.shape for f in student.backbone(images)]


def test_it_is_the_depth_of_another_run_and_is_cached(finished, tmp_path: Path) -> None:
    photos = write_tiny_data(tmp_path / "photos")
    cache = {"depth.source": f"run:{finished.out}", "depth.cache": str(tmp_path / "cache"), "data.processes": 0}
    first = run(tiny_experiment(photos, tmp_path / "boxes", **cache))
    assert first.counters["depth_inferences"] == 6
    again = run(tiny_experiment(photos, tmp_path / "again", **cache, seed=1))
    assert again.counters["depth_inferences"] == 0 and again.counters["cache_hits"] > 0


def test_a_run_is_named_by_its_folder_or_its_id(finished, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").symlink_to(finished.out)
    (finished.out / "run.json").write_text(json.dumps({"run_id": "0123abcd"}))
    monkeypatch.chdir(tmp_path)
    assert build_estimator(depth_spec("run:out/mine", tmp_path)) is not None
    copied = tmp_path / "out" / "copied"
    copied.mkdir()
    for name in ("run.json", "model.safetensors"):
        (copied / name).write_bytes((finished.out / name).read_bytes())
    assert depth_spec("run:0123abcd", tmp_path) == f"run:{copied}"
    with pytest.raises(InputError, match="no folder, nor the id of a run"):
        depth_spec("run:nothing", tmp_path)


def test_the_store_has_the_model_of_a_run_whose_folder_is_gone(data: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'm.db'}"
    result = run(tiny_sde(data, tmp_path / "run", **{"tracking.uri": uri, "schedule.steps": 2}))
    digest = TrainedDepth(result.out).digest
    shutil.rmtree(result.out)
    found = build_estimator(depth_spec(f"run:{result.run_id}", tmp_path, uri=uri))
    assert found is not None and found.digest == digest


def test_a_depth_run_has_no_masks_to_evaluate(finished) -> None:
    with pytest.raises(InputError, match=r"the run of a depth network.*depthbox depth evaluate"):
        open_run_folder(finished.out)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"data.train.sequences": ""}, r"data\.train\.sequences= is needed"),
        ({"data.gap": "1,0"}, r"data\.gap=1,0"),
        ({"depth.source": "builtin"}, "learns depth from the video alone"),
        ({"method.weights.feature_distance": 0.1}, "needs pretrained weights"),
        ({"method.nearest": 200.0}, "0 < nearest < farthest"),
        ({"data.views.short_side": 100}, "takes a multiple of 32"),
        ({"batch_size": 3, "workers": 2}, "does not divide"),
    ],
)
def test_settings_without_sense_are_refused(data: Path, tmp_path: Path, setting, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prepare(tiny_sde(data, tmp_path / "out", **setting))


def test_unreadable_frames_in_a_row_are_set_aside_by_name_and_a_bad_depth_map_is_not_scored(tmp_path: Path) -> None:
    video = write_tiny_video(tmp_path / "video", frames=12)
    file = video / "seq_0" / "frame_005.png"
    file.write_bytes(file.read_bytes()[:600])  # the header is whole
    (video / "seq_0" / "frame_006.png").write_bytes(b"")
    (video / "seq_1" / "depth_001.png").write_bytes(b"")
    result = run(tiny_sde(video, tmp_path / "run", **{"data.quarantine_share": 0.9}))
    assert result.counters["rows_quarantined"] > 0
    said = json.loads((tmp_path / "run" / "result.json").read_text())
    assert all(row["path"].endswith(("frame_005.png", "frame_006.png")) for row in said["quarantined"])
    assert "1 of 10 frames were not scored" in said["note"] and (tmp_path / "run" / "predictions.png").is_file()


def test_depth_maps_that_cannot_be_used_are_refused_before_the_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.depth_kind=depth_m.*hardly metres.*set data\.depth_kind="):
        prepare(tiny_sde(data, tmp_path / "out", **{"data.depth_kind": "depth_m"}))
    with pytest.raises(InputError, match=r"no frame of data\.val has a map of data\.depths=dpth_\*\.png"):
        prepare(tiny_sde(data, tmp_path / "out", **{"data.depths": "dpth_*.png"}))


def test_scores_on_frames_that_are_trained_on_are_said(data: Path, tmp_path: Path, caplog) -> None:
    prepare(tiny_sde(data, tmp_path / "out"))
    assert "trained on" not in caplog.text
    prepare(tiny_sde(data, tmp_path / "out", **{"data.train.sequences": "seq_*"}))
    assert "4 of 4 frames of data.val are trained on as well" in caplog.text


def test_a_flat_depth_is_said_once_after_patience() -> None:
    watch = FlatDepthWatch(30)
    lines = [{"loss/photometric": 0.1, "disparity_spread": 0.01}] * 12
    said = [watch.look(line, step=step) for step, line in enumerate(lines, start=8)]
    assert [bool(text) for text in said].index(True) == 6 and sum(map(bool, said)) == 1
    assert "collapsed to a constant (its spread is 1.0% of its mean)" in "".join(said)
    assert not FlatDepthWatch(30).look({"loss/photometric": 0.1, "disparity_spread": 0.4}, step=30)

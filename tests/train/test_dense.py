"""depth_ssda as a whole run: resume to the bit, last and best scores, pictures, what is refused."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_dense import SEVERAL_TASKS, tiny_dense, write_tiny_dense
from weights import same_weights

from depthbox.core.errors import UsageError
from depthbox.models.dense_head import untrained_dense
from depthbox.train.checkpoint import latest_checkpoint
from depthbox.train.context import RunContext
from depthbox.train.launch import run
from depthbox.train.prepare import prepare
from depthbox.train.semantic_pictures import _seen, pictures_of_classes
from depthbox.train.stop import Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")

OTHER = {"data.source.images": "other/photos", "data.source.labels": "other/labels", "data.source_share": 0.5, "data.labelled_share": 0.25}  # fmt: skip
CLASS = {"method.mixing": "class"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dense(tmp_path_factory.mktemp("semantic"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory):
    return run(tiny_dense(data, tmp_path_factory.mktemp("dense") / "run"))


def test_scores_last_and_best_and_by_class(finished):
    answer = finished.as_json()
    assert {"miou", "best_miou", "best_step", "pixel_accuracy", "iou/red", "iou/green", "iou/blue"} <= answer.keys()
    assert "mask_ap" not in answer and 0 < answer["miou"] <= answer["best_miou"] and answer["best_step"] in (2, 4, 6)
    assert answer["rows_in"] == answer["rows_ok"] == 6 and answer["depth_inferences"] + answer["cache_hits"] > 6
    for name in ("predictions.png", "mixtures.png"):
        assert (finished.out / name).is_file()


def test_the_colours_are_learnt(data: Path, tmp_path: Path) -> None:
    """Classes are colours here: a short run finds the two large ones."""
    settings = {
        "schedule.steps": 40,
        "schedule.learning_rate": 3e-3,
        "method.mixing": "class",
        "schedule.evaluate_every": 0,
    }
    found = run(tiny_dense(data, tmp_path / "run", **settings))
    assert found.scores["iou/red"] > 0.7 and found.scores["iou/green"] > 0.7


def test_a_validation_map_that_cannot_be_used_is_no_panel_and_no_end_of_a_run(finished, tmp_path: Path) -> None:
    """An id that the table does not have, in a map that was not among those read before the run; and one that is no picture."""
    data = write_tiny_dense(tmp_path / "data")
    job = prepare(tiny_dense(data, finished.out))
    Image.new("L", (64, 48), 77).save(data / "val" / "labels" / "p_01.png")
    (data / "val" / "labels" / "p_02.png").write_bytes(b"")
    model = untrained_dense(job.experiment.model, classes=3).eval()
    panels = [len(_seen(job, model, record)) for record in job.val.records]
    assert panels == [3, 0, 0]
    assert pictures_of_classes(job).keys() == {"predictions", "mixtures"}


@pytest.mark.parametrize("settings", [{}, {"method.cross_domain": True, **OTHER}, SEVERAL_TASKS])
def test_a_stopped_run_goes_on_to_the_same_bits(data: Path, tmp_path: Path, monkeypatch, settings: dict) -> None:
    whole = run(tiny_dense(data, tmp_path / "whole", **settings))
    asked = iter([False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(tiny_dense(data, tmp_path / "cut", **settings))
    cut = latest_checkpoint(tmp_path / "cut")
    assert cut is not None and cut.step == 3 and (cut.folder / "teacher.safetensors").is_file()
    again = run(tiny_dense(data, tmp_path / "cut", **settings))
    assert same_weights(tmp_path / "whole", tmp_path / "cut") and again.scores == whole.scores


@pytest.mark.parametrize(
    "settings",
    [
        {"method.mixing": "none", "data.labelled_share": 1},
        {"method.mixing": "none", **OTHER, "data.source_share": 1, "data.labelled_share": 0},
        {"method.mixing": "none", "method.cross_domain": True, **OTHER},
        {"model.context": "aspp", "model.dilated": True, "model.backbone": "mobilenetv2_100", **CLASS},
        {"batch_size": 3, "data.labelled_share": 2 / 3, **CLASS},
    ],
)
def test_rows_of_the_table_run(data: Path, tmp_path: Path, settings: dict) -> None:
    found = run(tiny_dense(data, tmp_path / "run", **settings, **{"schedule.steps": 2}))
    assert 0 <= found.scores["miou"] <= 1


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"method.mixing": "none"}, "50% of a step have no labels, and nothing learns from them"),
        ({"depth.source": "none"}, "mixes by disparity; set depth.source"),
        ({**CLASS, "depth.source": "run:nothing"}, r"depth\.\* has no effect"),
        ({"model.multi_task": True}, r"set data\.gap=1"),
        ({"data.gap": 1}, r"data\.gap=1 has no effect"),
        ({"model.pose_stride": 1}, r"model\.pose_stride is of the depth task"),
        ({"model.width": 12}, "takes a multiple of 8"),
        ({**OTHER, "data.source_share": 1, "data.labelled_share": 0}, "method.mixing=depth mixes target images"),
        (
            {
                **OTHER,
                "data.source_share": 1,
                "data.labelled_share": 0,
                "method.mixing": "none",
                "method.cross_domain": True,
            },
            "method.cross_domain mixes target images",
        ),
        (
            {"data.labelled_share": 1, "data.train.labelled": "", "method.mixed_images": "unlabelled"},
            "mixes images without labels, and a step has none",
        ),
        ({"batch_size": 6, "workers": 2}, "does not divide among workers=2"),
    ],
)
def test_settings_without_sense_are_refused(data: Path, tmp_path: Path, setting: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prepare(tiny_dense(data, tmp_path / "out", **setting))


def test_a_first_photo_without_a_header_does_not_decide_the_size(tmp_path: Path) -> None:
    data = write_tiny_dense(tmp_path / "data")
    for name in ("frame_000.png", "frame_001.png"):
        (data / "video" / "seq_0" / name).write_bytes(b"")
    source = prepare(tiny_dense(data, tmp_path / "out", **SEVERAL_TASKS)).source
    assert source.frames_hw == (32, 64) and sum(record.intrinsics is not None for record in source.data.records) == 7


def test_what_the_weights_say_of_themselves(finished) -> None:
    from safetensors import safe_open

    with safe_open(finished.out / "model.safetensors", framework="pt") as file:
        said = {name: json.loads(value) for name, value in file.metadata().items()}
    assert said["classes"] == ["red", "green", "blue"] and said["method"] == "depth_ssda"
    assert said["model"]["width"] == 8 and said["scores"]["miou"] == finished.scores["miou"]

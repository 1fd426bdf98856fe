"""A whole run without Ray: resume to the bit, stop requests, losses that are not finite, unreadable photos, other class counts."""

import importlib.util
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_city import write_tiny_city
from tiny_data import tiny_experiment, write_tiny_data
from weights import same_weights

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.evaluate.instance import Scores
from depthbox.experiment import Experiment
from depthbox.train import context, loop, worker
from depthbox.train.checkpoint import hand_over, latest_checkpoint
from depthbox.train.context import RunContext
from depthbox.train.launch import Watch, run
from depthbox.train.prepare import prepare
from depthbox.train.stop import Enough, Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


def tiny(data: Path, out: Path, method: str = "box_depth", **overrides: object) -> Experiment:
    return tiny_experiment(data, out, method, **{"data.processes": 0, **overrides})


def newest(out: Path) -> Path:
    checkpoint = latest_checkpoint(out)
    assert checkpoint is not None
    return checkpoint.folder


@pytest.mark.parametrize("method", ["box_depth", "full"])
def test_a_stopped_run_goes_on_to_the_same_bits(data: Path, tmp_path: Path, method: str, monkeypatch) -> None:
    taught = {"method.distillation.start": 0.3} if method == "box_depth" else {}
    run(tiny(data, tmp_path / "whole", method, **taught))
    asked = iter([False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(tiny(data, tmp_path / "cut", method, **taught))
    cut = latest_checkpoint(tmp_path / "cut")
    assert cut is not None and cut.step == 3
    assert cut.evaluated.name == ("teacher.safetensors" if taught else "model.safetensors")
    run(tiny(data, tmp_path / "cut", method, **taught))
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert same_weights(*(newest(tmp_path / name) for name in ("whole", "cut")))
    if taught:
        student, teacher = (
            load_file(newest(tmp_path / "cut") / f"{name}.safetensors") for name in ("model", "teacher")
        )
        final = load_file(tmp_path / "cut" / "model.safetensors")
        assert all(torch.equal(final[name], teacher[f"model.{name}"]) for name in final), "the teacher is what counts"
        assert not all(torch.equal(final[name], student[name]) for name in final)


def test_the_best_of_several_evaluations_is_told_beside_the_last_also_after_a_stop(
    data: Path, tmp_path: Path, monkeypatch
) -> None:
    """Evaluations after 2, 4 and 6 steps of 6 are given figures of 0.3, 0.5 and 0.4."""
    figures = {2: 0.3, 4: 0.5, 6: 0.4}

    def given(model, job):
        return Scores(values={"mask_ap": figures[job_steps.pop(0)], "mask_ap/cup": 0.0}, note=""), []

    monkeypatch.setattr(context, "scored", given)
    monkeypatch.setattr(worker, "scored", given)
    often = {"schedule.evaluate_every": 2, "schedule.checkpoint_every": 1}
    job_steps = [2, 4, 6]
    whole = run(tiny(data, tmp_path / "whole", **often)).scores
    wanted = {"mask_ap": 0.4, "mask_ap/cup": 0.0, "best_mask_ap": 0.5, "best_step": 4.0}
    assert whole == wanted
    asked = iter([False] * 4 + [True] + [False] * 9)
    job_steps = [2, 4, 6]
    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "stop_requested", lambda self: next(asked))
        with pytest.raises(Interrupted):
            run(tiny(data, tmp_path / "cut", **often))
    assert job_steps == [6]
    assert run(tiny(data, tmp_path / "cut", **often)).scores == wanted
    job_steps = [6]
    assert run(tiny(data, tmp_path / "once")).scores == {"mask_ap": 0.4, "mask_ap/cup": 0.0}


def test_the_run_ends_killed_in_mlflow_and_resumes_without_a_duplicate_step(
    data: Path, tmp_path: Path, monkeypatch
) -> None:
    from mlflow import MlflowClient

    experiment = vary(tiny(data, tmp_path / "cut"), {"tracking.uri": f"sqlite:///{tmp_path / 'm.db'}"})
    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "stop_requested", lambda self: True)
        with pytest.raises(Interrupted):
            run(experiment)
    client = MlflowClient(f"sqlite:///{tmp_path / 'm.db'}")
    run_id = json.loads((tmp_path / "cut" / "run.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "KILLED"
    result = run(experiment)
    assert result.run_id == run_id and client.get_run(run_id).info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run_id, "loss/total")] == [1, 2, 3, 4, 5, 6]


def test_a_torn_checkpoint_is_passed_over(data: Path, tmp_path: Path) -> None:
    run(tiny(data, tmp_path / "whole"))
    torn = tmp_path / "whole" / "checkpoints" / "step-00000009"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    run(tiny(data, tmp_path / "whole"))


def test_losses_that_stay_not_finite_end_the_run_with_the_images(data: Path, tmp_path: Path) -> None:
    experiment = tiny(
        data, tmp_path / "nan", **{"schedule.learning_rate": 1e30, "schedule.steps": 40, "schedule.clip_norm": 1e30}
    )
    with pytest.raises(InputError, match=r"not finite in 10 steps in a row.*learning_rate"):
        run(experiment)
    rows = [json.loads(line) for line in (tmp_path / "nan" / "bad_steps.jsonl").read_text().splitlines()]
    assert len(rows) == loop.BAD_STEPS_ALLOWED and all(row["image_ids"] for row in rows)


def test_a_broken_photo_is_set_aside_by_name_and_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    (broken / "train" / "002.png").write_bytes(b"not a picture")
    result = run(tiny(broken, tmp_path / "run", **{"data.quarantine_share": 0.5}))
    assert (
        result.counters["rows_in"] == 6 and result.counters["rows_quarantined"] == 1 and result.counters["rows_ok"] == 5
    )
    (row,) = json.loads((tmp_path / "run" / "result.json").read_text())["quarantined"]
    assert row["path"].endswith("002.png") and row["reason"]


def test_too_many_broken_photos_end_the_run(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    (broken / "train" / "002.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"002\.png.*1 of 6 images cannot be read.*quarantine_share"):
        run(tiny(broken, tmp_path / "run", **{"data.quarantine_share": 0.1}))


def test_a_full_disk_at_a_checkpoint_is_said_and_the_last_checkpoint_stays(
    data: Path, tmp_path: Path, monkeypatch
) -> None:
    import errno

    from depthbox.train import checkpoint

    def full_disk(folder: Path) -> None:
        if "00000004" in folder.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_flush", full_disk)
    with pytest.raises(InputError, match=r"step-00000004.*No space left.*free disk space"):
        run(tiny(data, tmp_path / "run"))
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]


def test_a_finished_model_is_fine_tuned_to_other_classes(data: Path, tmp_path: Path) -> None:
    run(tiny(data, tmp_path / "first"))
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for file in other.glob("*.json"):
        content = json.loads(file.read_text())
        content["categories"] = [{"id": 3, "name": "round"}]
        content["annotations"] = [a | {"category_id": 3} for a in content["annotations"]]
        file.write_text(json.dumps(content))
    experiment = tiny(
        other,
        tmp_path / "second",
        **{"model.init": str(tmp_path / "first"), "schedule.learning_rate": 0.0, "schedule.weight_decay": 0.0},
    )
    run(experiment)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert torch.equal(first["controller.conv.weight"], second["controller.conv.weight"])
    assert second["detector.classify.weight"].shape[0] == 1 and first["detector.classify.weight"].shape[0] == 2


def test_as_many_other_classes_are_told_apart_anew(data: Path, tmp_path: Path, caplog) -> None:
    """A box is no person: what the two have in common is a number."""
    run(tiny(data, tmp_path / "first"))
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for file in other.glob("*.json"):
        content = json.loads(file.read_text())
        for category, name in zip(content["categories"], ("person", "rider"), strict=True):
            category["name"] = name
        file.write_text(json.dumps(content))
    still = {"model.init": str(tmp_path / "first"), "schedule.learning_rate": 0.0, "schedule.weight_decay": 0.0}
    with caplog.at_level(logging.INFO, logger="depthbox"):
        run(tiny(other, tmp_path / "second", **still))
        unfinished = latest_checkpoint(tmp_path / "first")
        assert unfinished
        run(tiny(other, tmp_path / "third", **still | {"model.init": str(unfinished.folder)}))
    assert caplog.text.count("taken in part: detector") == 2
    run(tiny(data, tmp_path / "same", **still))
    first, second, same = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second", "same"))
    for name in ("detector.classify.weight", "detector.classify.bias"):
        assert torch.equal(first[name], same[name]) and not torch.equal(first[name], second[name])
    assert torch.equal(first["controller.conv.weight"], second["controller.conv.weight"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data.views.short_side": 0}, r"data\.views\.short_side=0"),
        ({"data.views.scale": (0.0, 1.0)}, "0 < least <= most"),
        ({"data.views.grey": 3.0}, r"data\.views\.grey=3: allowed is from 0 to 1"),
        ({"inference.top": 0}, r"inference\.top=0"),
        ({"inference.mask_nms_iou": 0.5}, r"has no effect with model\.head=dynamic"),
    ],
)
def test_views_and_predictions_that_cannot_be_are_refused(data: Path, tmp_path: Path, settings, said) -> None:
    with pytest.raises(UsageError, match=said):
        prepare(tiny(data, tmp_path / "o", **settings))


def test_a_finished_model_goes_to_boxes_of_a_street(data: Path, tmp_path: Path) -> None:
    """The paper's transfer: weights of one data set, then boxes of Cityscapes with its eight classes."""
    run(tiny(data, tmp_path / "first"))
    city = write_tiny_city(tmp_path / "city", splits=("train", "val"))
    split = {"images": "leftImg8bit", "annotations": "gtFine"}
    street = {f"data.{s}.{key}": f"{place}/{s}" for s in ("train", "val") for key, place in split.items()}
    result = run(
        tiny(
            city, tmp_path / "second", **street, **{"model.init": str(tmp_path / "first"), "data.views.short_side": 32}
        )
    )
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert second["detector.classify.weight"].shape[0] == 8
    moved = (first["controller.conv.weight"] - second["controller.conv.weight"]).abs().max()
    assert 0 < moved < 0.1
    assert {"mask_ap/person", "mask_ap/car", "mask_ap/bicycle"} <= result.scores.keys()
    if importlib.util.find_spec("cityscapesscripts"):
        assert 0 <= result.scores["cityscapes_ap"] <= 1 and "cityscapes_ap/person" in result.scores


def test_a_folder_of_another_experiment_is_refused(data: Path, tmp_path: Path) -> None:
    run(tiny(data, tmp_path / "run", **{"schedule.steps": 2}))
    with pytest.raises(UsageError, match=r"holds another experiment: seed"):
        run(tiny(data, tmp_path / "run", **{"schedule.steps": 2, "seed": 1}))


def test_full_needs_masks(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="learns from masks"):
        run(tiny(data, tmp_path / "run", "full", **{"data.train.annotations": "boxes_train.json"}))


def test_a_watched_run_reports_at_most_once_a_part_and_pauses_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    """An evaluation every step must not flood who listens; a run paused and continued in a handed-over folder ends like the whole one."""
    settings = {"schedule.evaluate_every": 1}
    heard: list[dict] = []
    run(tiny(data, tmp_path / "whole", **settings), watch=Watch(report=lambda v: heard.append(dict(v)), reports=3))
    assert [(one["step"], one["part"]) for one in heard] == [(2, 1), (4, 2), (6, 3)] and "mask_ap" in heard[0]
    heard.clear()
    watch = Watch(report=lambda v: heard.append(dict(v)), reports=3, pause_at=4)
    for _ in range(2):  # a second time it has nothing left to do
        with pytest.raises(Enough):
            run(tiny(data, tmp_path / "first", **settings), watch=watch)
    assert [one["part"] for one in heard] == [1, 2]
    hand_over(tmp_path / "first", tmp_path / "second")
    hand_over(tmp_path / "first", tmp_path / "second")
    run(tiny(data, tmp_path / "second", **settings))
    assert same_weights(tmp_path / "whole", tmp_path / "second")
    with pytest.raises(InputError, match="no checkpoint to hand over"):
        hand_over(tmp_path, tmp_path / "third")


def test_a_run_stopped_by_its_watcher_is_finished_in_mlflow(data: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = f"sqlite:///{tmp_path / 'm.db'}"

    def enough(values: Mapping[str, float]) -> None:
        (tmp_path / "run" / "stop").write_text("enough")

    experiment = vary(tiny(data, tmp_path / "run", **{"schedule.evaluate_every": 2}), {"tracking.uri": store})
    with pytest.raises(Enough):
        run(experiment, watch=Watch(report=enough, reports=3))
    run_id = json.loads((tmp_path / "run" / "run.json").read_text())["run_id"]
    assert MlflowClient(store).get_run(run_id).info.status == "FINISHED"
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint is not None and checkpoint.step == 2

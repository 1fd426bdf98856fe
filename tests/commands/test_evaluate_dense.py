"""`evaluate` of a run with a class for every pixel: the run's own figures again, other photos, a window, words for what does not fit."""

from pathlib import Path

import pytest
from command_line import depthbox
from tiny_dense import tiny_dense, write_tiny_dense

from depthbox.train.launch import run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_dense(tmp_path_factory.mktemp("semantic"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory):
    settings = {"method.mixing": "class", "schedule.steps": 10, "schedule.learning_rate": 3e-3}
    return run(tiny_dense(data, tmp_path_factory.mktemp("dense") / "run", **settings))


def test_the_scores_of_the_run_again(finished) -> None:
    answer = depthbox("evaluate", f"run={finished.out}", "device=cpu", "--json")
    assert answer.status == 0, answer.err
    assert answer.json["miou"] == pytest.approx(finished.scores["miou"]) and answer.json["images"] == 3
    assert "miou" in answer.err and "mask_ap" not in answer.err


def test_other_photos_through_a_window(finished) -> None:
    words = ["data.val.images=other/photos", "data.val.labels=other/labels", "window=32", "device=cpu", "--json"]
    answer = depthbox("evaluate", f"run={finished.out}", *words)
    assert answer.status == 0, answer.err
    assert answer.json["images"] == 4 and answer.json["miou"] != finished.scores["miou"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["data.val.label=x"], 2, "unknown setting 'data.val.label'"),
        (["data.table=cityscapes"], 1, "the classes are not those of"),
        (["window=33"], 2, "the window takes a multiple of 32"),
    ],
)
def test_what_does_not_fit_is_said(finished, words: list[str], status: int, said: str) -> None:
    answer = depthbox("evaluate", f"run={finished.out}", *words, "device=cpu")
    assert answer.status == status and said in answer.err

"""The command line as a user meets it: help, the names of the contract, bad usage, no secret."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import depthbox
from small_runs import SECRET, SMALL, make_data, paths

from depthbox.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("one_thread")
READY = [name for name, build in RECIPES.items() if build is not None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(words: list[str]) -> None:
    started = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "depthbox", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "depthbox" in imported
    assert not imported & {"torch", "ray", "mlflow", "numpy", "PIL", "rich"}
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "train",
        "ablate",
        "evaluate",
        "predict",
        "label",
        "export",
        "depth",
        "data",
        "select",
        "dashboard",
        "doctor",
    ],
)
def test_every_command_has_help(command: str) -> None:
    answer = depthbox(command, "--help")
    assert answer.status == 0
    assert f"depthbox {command}" in answer.out


def test_the_actions_of_depth_are_listed() -> None:
    shown = depthbox("depth", "--help").out
    assert all(f"depthbox depth {action}" in shown for action in ("run", "evaluate", "train"))


@pytest.mark.parametrize("method", [method for method in READY if method not in ("sde", "depth_ssda")])
def test_the_names_of_the_contract(method: str) -> None:
    words = [
        *("data.root=/d", "data.train.images=a", "data.train.annotations=b", "data.val.images=c"),
        *("data.val.annotations=e", "depth.source=maps:m", "depth.maps.kind=depth_m", "depth.maps.zero=missing"),
        *("model.backbone=resnet18", "model.weights=w.safetensors", "model.init=r", "schedule.steps=7", "batch_size=4"),
        *("workers=2", "launcher=local", "seed=3", "out=o", "tracking.uri=none"),
    ]
    answer = depthbox("train", method, "--dry-run", *words, "--json")
    assert answer.status == 0, answer.err
    settings = answer.json["settings"]
    assert {f"{name}={settings[name]}" for name in (word.partition("=")[0] for word in words)} == set(words)


def test_the_names_of_the_contract_for_classes_of_pixels() -> None:
    words = ["data.root=/d", "data.table=camvid", "data.train.images=a", "data.train.labels=b", "data.train.labelled=l", "data.val.images=c",
             "data.val.labels=e", "data.labelled_share=0.25", "data.source.images=s", "data.source.labels=t", "data.source_share=0.5",
             "depth.source=run:r", "method.mixing=class", "method.cross_domain=True", "model.multi_task=True", "data.gap=1", "model.init=r",
             "schedule.steps=7", "batch_size=4", "workers=2", "launcher=local", "seed=3", "out=o", "tracking.uri=none"]  # fmt: skip
    answer = depthbox("train", "depth_ssda", "--dry-run", *words, "--json")
    assert answer.status == 0, answer.err
    settings = answer.json["settings"]
    assert {f"{name}={settings[name]}" for name in (word.partition("=")[0] for word in words)} == set(words)


def test_the_names_of_the_contract_for_video() -> None:
    words = ["data.root=/d", "data.train.sequences=a,b_[0-5]", "data.val.sequences=c", "data.gap=2,4", "model.backbone=resnet18",
             "model.init=r", "schedule.steps=7", "batch_size=4", "launcher=local", "seed=3", "out=o", "tracking.uri=none"]  # fmt: skip
    answer = depthbox("train", "sde", "--dry-run", *words, "--json")
    assert answer.status == 0, answer.err
    settings = {
        name: ",".join(map(str, v)) if isinstance(v, list) else v for name, v in answer.json["settings"].items()
    }
    assert {f"{name}={settings[name]}" for name in (word.partition("=")[0] for word in words)} == set(words)


def test_the_same_command_finds_the_same_folder_and_another_seed_another() -> None:
    folders = [
        depthbox("train", "full", "--dry-run", "--json", "launcher=local", *words).json["settings"]["out"]
        for words in ([], ["workers=2"], ["seed=1"])
    ]
    assert folders[0] == folders[1] != folders[2]


def test_a_plan_that_does_not_fit_is_refused_with_its_arithmetic() -> None:
    assert "resources:" in depthbox("train", "full", "--dry-run").out
    answer = depthbox("train", "full", "--dry-run", "workers=512", "batch_size=512")
    assert answer.status == 1
    assert "512 workers 256" in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([], "required"),
        (["train"], "which method?"),
        (["train", "box_dept"], "did you mean box_depth?"),
        (["train", "depth_ssda"], "data.table= is needed"),
        (["train", "sde", "register=depth"], "what is registered is served, and finds objects or classes"),
        (["train", "box_depth", "schedul.steps=3"], "did you mean schedule.steps"),
        (["train", "box_depth", "schedule.steps=many"], "takes int"),
        (["train", "box_depth", "launcher=slurm"], "allowed are ray, local"),
        (["train", "box_depth", "method.weights=1"], "is a group"),
        (["train", "box_depth", "seed"], "is not an override"),
        (["train", "box_depth", "seed=1", "seed=2"], "given twice"),
        (["train", "box_depth", "--fast"], "unrecognized arguments: --fast"),
        (["train", "box_depth", "launcher=local", "tracking.uri=none"], "data.train.images="),
        (["evaluate"], "which run?"),
        (["evaluate", "run=x", "model.channels=3"], "unknown setting 'model.channels'"),
        (["depth"], "which action?"),
        (["depth", "rum"], "rum: which action?"),
        (["depth", "run", "images=x"], "out= is needed"),
        (["depth", "evaluate", "image=x"], "did you mean images"),
        (["depth", "train", "out=x"], "out=FILE.safetensors"),
        (["data", "validate"], "which data?"),
        (["data", "validate", "data.val.annotations=x.json"], "data.val.images="),
        (["dashboard", "--json"], "unrecognized arguments"),
        (["dashboard", "port=http"], "takes int"),
        (["doctor", "tracking.url=x"], "did you mean tracking.uri?"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(words: list[str], said: str) -> None:
    answer = depthbox(*words)
    assert (answer.status, said in answer.fault) == (2, True), answer.fault


def test_a_traceback_only_where_it_is_asked_for() -> None:
    answer = depthbox("train", "box_dept", "--traceback")
    assert answer.status == 2
    assert "Traceback (most recent call last)" in answer.err
    assert answer.err.strip().splitlines()[-1].startswith("depthbox: unknown method")


def test_no_secret_is_printed(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "o"
    uri = f"tracking.uri=file://ann:{SECRET}@host/x"
    answers = [
        depthbox("train", "full", "--dry-run", "launcher=local", f"tracking.uri=http://ann:{SECRET}@host"),
        depthbox("train", "box_depth", *paths(data), *SMALL, "depth.source=none", f"out={out}", uri, "--traceback"),
        depthbox("dashboard", uri),
        depthbox("doctor", f"tracking.uri=http://ann:{SECRET}@127.0.0.1:1"),
    ]
    assert [answer.status for answer in answers] == [0, 2, 2, 1]
    assert not any(SECRET in answer.out + answer.err for answer in answers)
    assert SECRET not in (out / "experiment.json").read_text()

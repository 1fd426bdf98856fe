"""Data and runs in an object store: a real S3 protocol over loopback, nothing faked on our side."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from s3_server import CREDENTIALS, S3Server, s3_server
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.core.remote import RemoteFolder
from depthbox.data.fetch import local_copy
from depthbox.train.context import RunContext
from depthbox.train.launch import run
from depthbox.train.mirror import Mirror
from depthbox.train.stop import Interrupted

pytest.importorskip("moto", reason="the S3 server of the tests")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


def test_a_data_root_in_s3_is_copied_once_and_then_only_what_changed(s3: S3Server, data: Path, tmp_path: Path) -> None:
    uri = s3.fill("photos", data)
    copy = local_copy(uri, tmp_path)
    files = {f.relative_to(data): f.read_bytes() for f in data.rglob("*") if f.is_file()}
    assert {f: (Path(copy.folder) / f).read_bytes() for f in files} == files
    before = {f: (Path(copy.folder) / f).stat().st_mtime_ns for f in files}
    RemoteFolder.at(uri).put(data / "train" / "000.png", "train/new.png")
    again = local_copy(uri, tmp_path)
    assert again.folder == copy.folder and (Path(copy.folder) / "train" / "new.png").exists()
    assert {f: (Path(copy.folder) / f).stat().st_mtime_ns for f in files} == before


def test_a_run_from_s3_equals_one_from_the_folder_and_goes_on_where_nothing_is_left(
    s3: S3Server, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny_experiment(data, tmp_path / "whole"))
    away = vary(
        tiny_experiment(data, tmp_path / "scratch"), {"data.root": s3.fill("same", data), "storage": s3.uri("run")}
    )
    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "stop_requested", lambda self: checkpoint_of(4, tmp_path / "scratch"))
        with pytest.raises(Interrupted):
            run(away)
    shutil.rmtree(tmp_path / "scratch")  # the machine is gone; another one has the same command
    result = run(away)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "scratch"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert result.counters["rows_ok"] == 6
    kept = RemoteFolder.at(s3.uri("run")).sizes()
    assert {"experiment.json", "run.json", "result.json", "model.safetensors"} <= kept.keys()
    assert sorted({name.split("/")[1] for name in kept if name.startswith("checkpoints/")}) == [
        "step-00000005",
        "step-00000006",
    ]


def checkpoint_of(step: int, out: Path) -> bool:
    return (out / "checkpoints" / f"step-{step:08d}").exists()


def test_another_experiment_does_not_take_the_storage_of_a_run(s3: S3Server, data: Path, tmp_path: Path) -> None:
    run(vary(tiny_experiment(data, tmp_path / "one"), {"storage": s3.uri("taken"), "schedule.steps": 1}))
    other = vary(tiny_experiment(data, tmp_path / "two"), {"storage": s3.uri("taken"), "schedule.steps": 1, "seed": 5})
    with pytest.raises(UsageError, match=r"holds another experiment: seed"):
        run(other)


def test_a_checkpoint_without_its_last_file_is_passed_over(s3: S3Server, tmp_path: Path) -> None:
    here, there = (Mirror(storage=s3.uri("torn"), out=tmp_path / name) for name in ("here", "there"))
    for step in (2, 4):
        folder = here.out / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "state.json").write_text(json.dumps({"step": step}))
        here.push_checkpoint(folder)
    RemoteFolder.at(s3.uri("torn")).remove("checkpoints/step-00000004/state.json")
    there.pull_checkpoint()
    assert [folder.name for folder in (there.out / "checkpoints").iterdir()] == ["step-00000002"]


def test_progress_goes_out_and_a_stop_request_comes_in_between_machines(s3: S3Server, tmp_path: Path) -> None:
    driver, worker = (Mirror(storage=s3.uri("talk"), out=tmp_path / name) for name in ("driver", "worker"))
    driver.out.mkdir()
    worker.out.mkdir()
    (worker.out / "stop").touch()  # of an earlier run
    with worker.in_touch():
        assert not (worker.out / "stop").exists()
        (worker.out / "progress.txt").write_text("step 1/9")
        (driver.out / "stop").touch()
        driver.push("stop")
        deadline = time.monotonic() + 30
        while not (worker.out / "stop").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (worker.out / "stop").exists()
    driver.pull("progress.txt")
    assert (driver.out / "progress.txt").read_text() == "step 1/9"


@pytest.mark.parametrize(
    ("uri", "error", "said"),
    [
        ("s3://box/a?endpoint_override=127.0.0.1:1&scheme=http&region=x", InputError, "s3://box/a: the store refuses"),
        ("ftp://box/a", UsageError, "ftp://box/a: .*allowed: s3://"),
    ],
)
def test_a_store_that_is_not_there_is_one_clear_error(uri: str, error: type, said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said) as caught:
        local_copy(uri, tmp_path)
    assert "\n" not in str(caught.value)


def test_two_processes_of_a_machine_copy_once(s3: S3Server, data: Path, tmp_path: Path) -> None:
    uri = s3.fill("both", data)
    folders: list[str] = []
    threads = [threading.Thread(target=lambda: folders.append(local_copy(uri, tmp_path).folder)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 3 and len(set(folders)) == 1
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.endswith(".part")]

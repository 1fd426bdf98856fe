"""The parent run of a sweep or table in a real sqlite MLflow: one for a digest, whatever ended the command before."""

import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from depthbox.tracking import open_tracker, prepare_store
from depthbox.tracking.store import quiet_mlflow
from depthbox.tracking.study import DIGEST_TAG, NOTE_TAG, PARENT_TAG, Study, open_study

quiet_mlflow()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("studies")
    prepare_store(None, out=out)
    return out


def opened(store: Path, digest: str) -> Study:
    return open_study(None, experiment="a table", name="table", digest=digest, out=store)


def rows(store: Path, query: str, *values: object) -> list[tuple]:
    with sqlite3.connect(store / "mlflow.db") as connection:
        return connection.execute(query, values).fetchall()


def parents(store: Path, digest: str) -> list[tuple[str, str]]:
    query = "select r.run_uuid, r.status from runs r join tags t using (run_uuid) where t.key = ? and t.value = ?"
    return rows(store, query, DIGEST_TAG, digest)


def test_a_study_is_found_again_by_its_digest_and_carries_what_it_is_given(store: Path, tmp_path: Path) -> None:
    picture, page = tmp_path / "a.png", tmp_path / "page.html"
    picture.write_bytes(b"a picture")
    page.write_text("<p>a page")
    first = opened(store, "d1")
    child = open_tracker(None, experiment="a table", run_name="c", params={}, tags=first.child_tags(), out=store)
    child.finish("FINISHED")
    first.points({"best": 0.5}, step=1)
    first.finish("KILLED")
    assert parents(store, "d1") == [(first.run_id, "KILLED")]

    again = opened(store, "d1")
    assert again.run_id == first.run_id and parents(store, "d1")[0][1] == "RUNNING"
    again.points({"best": 0.5}, step=1)
    again.points({"best": 0.6}, step=2)
    again.table("table", markdown="| a |", csv="a\n")
    again.figure(picture)
    again.page(page)
    again.best({"seed": 0, "where": "http://ann:secret-1@host"})
    again.note("line\n" * 4000)
    again.finish("FAILED")

    assert parents(store, "d1") == [(first.run_id, "FAILED")]
    assert rows(store, "select value from tags where run_uuid = ? and key = ?", child.run_id, PARENT_TAG) == [
        (first.run_id,)
    ]
    assert rows(store, "select step, value from metrics where key = 'best' order by step") == [(1, 0.5), (2, 0.6)]
    files = store / "mlartifacts" / first.run_id / "artifacts"
    found = {str(path.relative_to(files)): path.read_text() for path in files.rglob("*") if path.is_file()}
    assert found.keys() == {"table.md", "table.csv", "figures/a.png", "page.html", "best.json"}
    assert "secret-1" not in found["best.json"]
    ((note,),) = rows(store, "select value from tags where run_uuid = ? and key = ?", first.run_id, NOTE_TAG)
    assert len(note) <= 8000 and note.endswith("line\n\n(more in the files of this run)")


def test_another_digest_is_another_parent(store: Path) -> None:
    one, other = opened(store, "d2"), opened(store, "d3")
    one.finish("FINISHED")
    other.finish("FINISHED")
    assert one.run_id != other.run_id


def test_processes_that_open_one_study_at_once_get_one_parent(store: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_open_and_die, args=(store,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 4
    ((run_id, status),) = parents(store, "d4")
    assert status == "RUNNING"  # nobody could say otherwise
    last = opened(store, "d4")
    last.finish("FINISHED")
    assert parents(store, "d4") == [(run_id, "FINISHED")]


def _open_and_die(store: Path) -> None:
    opened(store, "d4")
    os.kill(os.getpid(), signal.SIGKILL)


def test_without_tracking_a_study_asks_nothing(tmp_path: Path) -> None:
    study = open_study("none", experiment="e", name="n", digest="d", out=tmp_path)
    study.note("words")
    study.page(tmp_path / "nowhere.html")
    study.finish("FINISHED")
    assert (study.run_id, study.child_tags(), study.command_to_open()) == ("", {}, "")
    assert list(tmp_path.iterdir()) == []

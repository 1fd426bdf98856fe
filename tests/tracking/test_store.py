"""The store: none, a fresh one, an older one, a file that is none, and six processes at once."""

import logging
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tracked_runs import SECRET, opened, rows

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking import NullTracker, prepare_store, tracking_uri
from depthbox.tracking.store import schema_state


def test_none_tracks_nothing(tmp_path: Path) -> None:
    tracker = opened(tmp_path, uri="none")
    tracker.metrics({"loss": 1.0}, step=1)
    tracker.finish("FINISHED")
    assert isinstance(tracker, NullTracker)
    assert (tracker.run_id, tracker.logged_until(), tracker.command_to_open()) == ("", -1, "")
    assert prepare_store("none") == "none"
    assert list(tmp_path.iterdir()) == []


def test_without_mlflow_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with caplog.at_level(logging.WARNING):
        assert prepare_store(None, out=tmp_path) == "none"
        assert len(caplog.records) == 1
        assert isinstance(opened(tmp_path), NullTracker)
        assert prepare_store("http://host:1") == "http://host:1"
    assert len(caplog.records) == 2
    assert "not tracked" in caplog.text


def test_importing_costs_neither_mlflow_nor_torch() -> None:
    code = "import sys, depthbox.tracking, depthbox.doctor; print({'mlflow','torch','ray','numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_uri_is_absolute_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri("sqlite:///sub/a.db") == f"sqlite:///{tmp_path}/sub/a.db"
    assert tracking_uri(None, out=Path("out")) == f"sqlite:///{tmp_path}/out/mlflow.db"
    for wrong in ("mlruns", "./a.db", "file:///tmp/x", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(UsageError, match=r"sqlite:///"):
            tracking_uri(wrong)
    with pytest.raises(UsageError) as caught:
        tracking_uri(f"file://ann:{SECRET}@host/x")
    assert SECRET not in str(caught.value)


def test_a_new_store_is_whole_and_found_again(store: Path) -> None:
    assert schema_state(store / "mlflow.db") == "current"
    before = (store / "mlflow.db").stat().st_mtime_ns
    assert prepare_store(None, out=store) == f"sqlite:///{store}/mlflow.db"
    assert (store / "mlflow.db").stat().st_mtime_ns == before
    assert [path.name for path in store.iterdir() if path.suffix == ".new"] == []


def test_an_older_store_is_kept_and_migrated(tmp_path: Path) -> None:
    import mlflow.store.db.utils as schema
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.tracking.dbmodels.initial_models import Base

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tables = schema.create_sqlalchemy_engine_with_retry(uri)
    Base.metadata.create_all(tables)
    config = schema._get_alembic_config(uri)
    script = ScriptDirectory.from_config(config)
    earlier = script.get_revision(script.get_current_head()).down_revision
    with tables.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, earlier)
    tables.dispose()
    assert schema_state(tmp_path / "mlflow.db") == "older"
    prepare_store(uri)
    assert schema_state(tmp_path / "mlflow.db") == "current"
    assert schema_state(tmp_path / f"mlflow.db.before-{earlier}.bak") == "older"


def test_a_file_that_is_no_store_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, " * 100)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table pictures (id int)")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values ('ffffffffffff')")
    cases = {
        "text.db": "not a database",
        "other.db": "not one of MLflow",
        "newer.db": "newer MLflow",
        "text.db/a.db": "text.db",
    }
    for name, cause in cases.items():
        with pytest.raises(InputError, match=cause) as caught:
            prepare_store(f"sqlite:///{tmp_path}/{name}")
        assert caught.value.next_step


def test_six_processes_open_one_fresh_store_at_once(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import multiprocessing, sys
        from pathlib import Path
        from depthbox.tracking.store import quiet_mlflow
        quiet_mlflow()
        import mlflow.store.tracking.sqlalchemy_store
        from mlflow import MlflowClient  # imported once, before the fork: the race is what is tested
        from depthbox.tracking import open_tracker

        def run(number, start):
            start.wait()
            out = Path(sys.argv[1])
            given = {"params": {"n": number}, "tags": {}, "out": out}
            tracker = open_tracker(None, experiment="race", run_name=str(number), **given)
            for step in range(20):
                tracker.metrics({"loss": step}, step=step)
            tracker.finish("FINISHED")

        context = multiprocessing.get_context("fork")
        start = context.Barrier(6)
        workers = [context.Process(target=run, args=(number, start)) for number in range(6)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        sys.exit(sum(worker.exitcode != 0 for worker in workers))
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(tmp_path, "select status, count(*) from runs group by status") == [("FINISHED", 6)]
    assert rows(tmp_path, "select count(*) from metrics where key = 'loss'") == [(120,)]
    assert rows(tmp_path, "select count(*) from experiments where name = 'race'") == [(1,)]

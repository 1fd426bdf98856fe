"""Runs in a real sqlite MLflow and behind a real loopback server: nothing twice, nothing lost, no secret, no stall."""

import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking import NullTracker, Tracker, dashboard, open_tracker, prepare_store, redacted, tracking_uri
from depthbox.tracking.dashboard import free_port
from depthbox.tracking.store import quiet_mlflow, schema_state
from depthbox.tracking.words import flat_params, flat_tags, store_name

quiet_mlflow()
SECRET = "Tr0ub4dor-9"


class Server:
    """`dashboard` in a process of its own, as a user starts it; it takes its time."""

    def __init__(self, uri: str, port: int) -> None:
        # Tests that run in a shell's background job would hand on an ignored Ctrl-C.
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            f"from depthbox.tracking import dashboard; sys.exit(dashboard({uri!r}, port={port}))"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.address = ""

    def ready(self) -> "Server":
        for line in self.process.stdout:
            self.said.append(line)
            if "is shown at" in line:
                break
        assert "is shown at" in self.said[-1]
        self.address = self.said[-1].split(" at ")[1].split()[0]
        return self

    def stop(self) -> int:
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert len(children) <= 3  # the server, its one worker, and what multiprocessing adds to it
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        psutil.wait_procs(children, timeout=5)
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module", autouse=True)
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, int]]:
    """A server that starts while the other tests run; the port asked for is busy."""
    out = tmp_path_factory.mktemp("served")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        server = Server(prepare_store(None, out=out), busy.getsockname()[1])
        yield server, out, busy.getsockname()[1]
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that the tests of this file share."""
    out = tmp_path_factory.mktemp("a store")
    prepare_store(None, out=out)
    return out


def opened(out: Path, **changes: object) -> Tracker:
    wanted = {"experiment": "tests", "run_name": "a run", "params": {}, "tags": {}, "out": out, **changes}
    return open_tracker(str(wanted.pop("uri", "")) or None, **wanted)


def log_losses(run: Tracker, numbers: range) -> None:
    for step in numbers:
        run.metrics({"loss": step}, step=step)


def rows(out: Path, query: str, *values: object) -> list[tuple]:
    with sqlite3.connect(out / "mlflow.db") as connection:
        return connection.execute(query, values).fetchall()


def steps(out: Path, tracker: Tracker, key: str) -> list[int]:
    found = rows(out, "select step from metrics where run_uuid = ? and key = ? order by step", tracker.run_id, key)
    return [step for (step,) in found]


def facts(out: Path, tracker: Tracker, table: str) -> dict[str, str]:
    return dict(rows(out, f"select key, value from {table} where run_uuid = ?", tracker.run_id))


def status(out: Path, tracker: Tracker) -> str:
    return rows(out, "select status from runs where run_uuid = ?", tracker.run_id)[0][0]


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"http://ann:{SECRET}@host:5000/a",
        f"http://ann:{SECRET}@evil@host/a",
        f"postgresql+psycopg2://u:{SECRET}/x@host/db?sslmode=require",
        f"https://{SECRET}@host",
        f"see http://host/a?page=1&access_token={SECRET}#x and more",
        f"s3://b/k?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}",
        f"{{'nested': [{{'password': '{SECRET}'}}]}}",
        f"Authorization: Bearer {SECRET}",
        f"hf_{'a' * 20}{SECRET}",
    ],
)
def test_a_secret_in_a_text_is_redacted(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "redacted" in redacted(text)


@pytest.mark.parametrize(
    "text",
    ["sqlite:////a/b.db", "http://host:5000/a?page=2", "git+https://host/a/b@main", "ann@host", "0.5 key points"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"))))
def test_no_password_of_any_characters_survives(noise: str) -> None:
    password = f"{noise.replace('://', '')}{SECRET}"
    assert SECRET not in redacted(f"http://ann:{password}@host:5000/path")


def test_params_are_flat_short_and_without_secrets() -> None:
    flat = flat_params(
        {
            "a": {"b": {"c": 1}, "empty": {}},
            "hub": {"token": SECRET, "num_tokens": 7, "key": 3, "api_key": SECRET},
            "long": "x" * 9000,
        }
    )
    assert flat["a.b.c"] == "1"
    assert flat["a.empty"] == "{}"
    assert (flat["hub.num_tokens"], flat["hub.key"]) == ("7", "3")
    assert flat["hub.token"] == flat["hub.api_key"] == "[redacted]"
    assert len(flat["long"]) <= 6000
    assert "9000 characters" in flat["long"]
    assert len(flat_tags({"long": "x" * 9000})["long"]) <= 8000
    assert flat_params({"long": "x" * 9000}) != flat_params({"long": "x" * 8999 + "y"})


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400))
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

    _validate_metric_name(store_name(name))
    assert len(store_name(name)) <= MAX_ENTITY_KEY_LENGTH


# --- no store --------------------------------------------------------------------------------------------------------


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


# --- the store -------------------------------------------------------------------------------------------------------


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


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_run_holds_what_it_was_given(store: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"weights")
    params = {"model": {"width": 64}, **{f"p{number}": number for number in range(250)}}
    tracker = opened(store, params=params, tags={"data.digest": "abc"})
    for step in range(30):
        tracker.metrics({"loss/depth": step / 2, "AP@[.5]": float("nan")}, step=step)
    tracker.image(np.zeros((8, 9, 3), np.uint8), key="grid", step=3)
    tracker.artifact(tmp_path / "model", folder="model")
    tracker.text(f"see http://ann:{SECRET}@host", "notes/words.txt")
    assert tracker.logged_until() == 29
    assert tracker.flush(wait_s=20.0)
    assert status(store, tracker) == "RUNNING"
    tracker.finish("FINISHED")
    tracker.finish("FAILED")  # as an exit hook would

    assert status(store, tracker) == "FINISHED"
    assert steps(store, tracker, "loss/depth") == steps(store, tracker, "AP__.5_") == list(range(30))
    assert rows(store, "select sum(is_nan) from metrics where run_uuid = ? and key = 'AP__.5_'", tracker.run_id) == [
        (30,)
    ]
    assert len(facts(store, tracker, "params")) == 251
    assert facts(store, tracker, "params")["model.width"] == "64"
    assert facts(store, tracker, "tags")["data.digest"] == "abc"
    artifacts = store / "mlartifacts" / tracker.run_id / "artifacts"
    assert (artifacts / "model" / "weights.safetensors").read_bytes() == b"weights"
    assert (artifacts / "notes" / "words.txt").read_text() == "see http://[redacted]@host"
    assert len(list((artifacts / "images").glob("grid+step+3*.png"))) == 1
    assert tracker.command_to_open() == f"depthbox dashboard 'tracking.uri=sqlite:///{store}/mlflow.db'"


def test_the_commit_is_a_tag_inside_a_repository_only(store: Path) -> None:
    here = Path(__file__).parent
    answer = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], cwd=here, capture_output=True, text=True)
    tracker = opened(store)
    tracker.finish("FINISHED")
    commit = facts(store, tracker, "tags").get("mlflow.source.git.commit")
    assert commit == (answer.stdout.strip() if answer.returncode == 0 else None)


def test_a_continued_run_logs_nothing_twice(store: Path) -> None:
    first = opened(store, params={"seed": 1, "steps": 10})
    for step in range(10):
        first.metrics({"a": step, **({"b": step} if step < 5 else {})}, step=step)
    first.image(np.zeros((4, 4, 3), np.uint8), key="grid/val", step=5)
    first.finish("KILLED")

    again = opened(store, run_id=first.run_id, params={"seed": 1, "steps": 20})
    assert (again.run_id, again.logged_until(), status(store, again)) == (first.run_id, 9, "RUNNING")
    for step in range(3, 15):
        again.metrics({"a": -1.0, "b": -1.0}, step=step)
    again.metrics({"a": -2.0}, step=14)
    again.image(np.zeros((4, 4, 3), np.uint8), key="grid/val", step=5)
    again.finish("FINISHED")

    assert steps(store, again, "a") == steps(store, again, "b") == list(range(15))
    assert facts(store, again, "params") == {"seed": "1", "steps": "10"}
    assert facts(store, again, "tags")["param_changed.steps"] == "20"
    assert len(list((store / "mlartifacts" / again.run_id / "artifacts" / "images").glob("*.png"))) == 1
    assert status(store, again) == "FINISHED"


def test_a_released_run_goes_on_in_other_hands(store: Path) -> None:
    driver = opened(store, params={"seed": 1})
    driver.metrics({"a": 0.0}, step=0)
    driver.release()
    worker = opened(store, run_id=driver.run_id)
    driver.finish("FAILED")  # no longer its to end
    worker.metrics({"a": 1.0}, step=1)
    assert (worker.logged_until(), status(store, worker)) == (1, "RUNNING")
    worker.finish("FINISHED")
    assert steps(store, worker, "a") == [0, 1]
    assert (status(store, worker), facts(store, worker, "params")) == ("FINISHED", {"seed": "1"})


def test_a_run_that_is_gone_begins_anew(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = opened(store, run_id="0" * 32)
    tracker.finish("FINISHED")
    assert tracker.logged_until() == -1
    assert facts(store, tracker, "tags")["continues_run"] == "0" * 32
    assert "a new one begins" in caplog.text


def test_points_left_on_disk_by_a_killed_process_are_sent(store: Path) -> None:
    first = opened(store)
    first.metrics({"a": 0.0}, step=0)
    first.finish("KILLED")
    left = [{"run_id": first.run_id, "key": "a", "value": 1.0, "step": 1, "timestamp_ms": 5}]
    other = {"run_id": "f" * 32, "key": "a", "value": 1.0, "step": 1, "timestamp_ms": 5}
    file = store / "mlflow-unsent.jsonl"
    file.write_text("\n".join(json.dumps(entry) for entry in [*left, other]) + '\n{"torn": ')
    again = opened(store, run_id=first.run_id)
    again.metrics({"a": 9.0}, step=1)
    assert again.flush(wait_s=20.0)
    again.finish("FINISHED")
    assert steps(store, again, "a") == [0, 1]
    assert file.read_text().startswith(json.dumps(other))
    file.unlink()


def test_system_readings_arrive(store: Path) -> None:
    tracker = opened(store)
    time.sleep(1.5)
    tracker.finish("FINISHED")
    names = {name for (name,) in rows(store, "select distinct key from metrics where run_uuid = ?", tracker.run_id)}
    assert {"system/cpu_percent", "system/memory_percent", "system/own_memory_gib"} <= names
    assert tracker.logged_until() == -1


def test_no_secret_reaches_the_store(tmp_path: Path, store: Path) -> None:
    params = {
        "tracking": {"uri": f"http://ann:{SECRET}@host", "password": SECRET},
        "deep": [{"secret": SECRET}, f"s3://b?sig={SECRET}"],
        "hub_token": SECRET,
    }
    tracker = opened(store, params=params, tags={"where": f"https://{SECRET}@host/x", "api-key": SECRET})
    tracker.params({"later": f"--uri=http://u:{SECRET}@h"})
    tracker.text(f'{{"password": "{SECRET}"}}', "experiment.json")
    tracker.finish("FINISHED")
    assert len(facts(store, tracker, "params")) == 5
    files = [path for path in store.rglob("*") if path.is_file()]
    assert store / "mlflow.db" in files
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_logging_costs_less_than_a_millisecond(store: Path) -> None:
    tracker = opened(store)
    costs = []
    for step in range(500):
        begin = time.perf_counter()
        tracker.metrics({f"loss/{number}": 0.5 for number in range(8)}, step=step)
        costs.append(time.perf_counter() - begin)
    tracker.finish("FINISHED")
    assert np.median(costs) < 1e-3
    assert len(steps(store, tracker, "loss/7")) == 500


# --- a server --------------------------------------------------------------------------------------------------------


def test_a_server_gone_for_a_while_loses_nothing_and_stalls_nothing(
    served: tuple[Server, Path, int], caplog: pytest.LogCaptureFixture
) -> None:
    server, tmp_path, busy_port = served
    uri = tracking_uri(None, out=tmp_path)
    try:
        server.ready()
        assert f"Port {busy_port} is busy" in server.said[0]
        out = tmp_path / "of the client"
        run = opened(out, uri=server.address, params={"seed": 1})
        lost = opened(out, uri=server.address)
        picture = tmp_path / "a.png"
        picture.write_bytes(b"not decoded")
        run.artifact(picture, folder="pictures")
        log_losses(run, range(50))
        assert run.flush(wait_s=20.0)
        assert run.command_to_open().startswith(f"{server.address}/#/experiments/")
        assert server.stop() == 130

        begin = time.perf_counter()
        log_losses(run, range(50, 150))
        log_losses(lost, range(50, 150))
        run.tags({"while": "away"})
        assert time.perf_counter() - begin < 0.5
        assert not run.flush(wait_s=0.5)  # a checkpoint is written: the points are on disk
        assert (out / "mlflow-unsent.jsonl").read_text().count('"key": "loss"') == 100
        log_losses(run, range(150, 200))
        begin = time.perf_counter()
        lost.finish("FINISHED", wait_s=0.5)
        assert time.perf_counter() - begin < 5.0
        assert re.search(r"10\d points, kept in", caplog.text)
        assert "is away (ConnectionRefusedError" in caplog.text
        assert "continues run" in caplog.text

        server = Server(uri, int(server.address.rsplit(":", 1)[1])).ready()
        run.finish("FINISHED", wait_s=30.0)
        assert steps(tmp_path, run, "loss") == list(range(200))
        assert (status(tmp_path, run), status(tmp_path, lost)) == ("FINISHED", "RUNNING")
        assert facts(tmp_path, run, "tags")["while"] == "away"
        assert len(list((tmp_path / "mlartifacts").rglob("pictures/a.png"))) == 1

        lost = opened(out, uri=server.address, run_id=lost.run_id)
        lost.finish("FINISHED")
        assert steps(tmp_path, lost, "loss") == list(range(50, 150))
        assert status(tmp_path, lost) == "FINISHED"
        assert not (out / "mlflow-unsent.jsonl").exists()
    finally:
        if server.process.poll() is None:
            server.stop()


def test_a_server_that_is_not_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthbox.tracking.mlflow_run.OPEN_WAIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InputError) as caught:
        opened(tmp_path, uri=f"http://ann:{SECRET}@127.0.0.1:{port}")
    assert SECRET not in str(caught.value)
    assert f"http://[redacted]@127.0.0.1:{port}" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.next_step


def test_a_dashboard_without_a_store_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no tracking store is here yet"):
        dashboard(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
    assert dashboard(f"http://ann:{SECRET}@host:1") == 0
    assert "http://[redacted]@host:1" in capsys.readouterr().out
    with pytest.raises(UsageError):
        dashboard("none")
    with pytest.raises(UsageError):
        free_port("127.0.0.1", 70000)
    with pytest.raises(InputError, match="cannot listen"):
        free_port("203.0.113.1", 5000)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

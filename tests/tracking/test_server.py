"""Runs behind a real loopback server that goes and comes back, and the command that starts it."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_server import Server
from tracked_runs import SECRET, facts, log_losses, opened, status, steps

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking import dashboard, prepare_store, tracking_uri
from depthbox.tracking.dashboard import free_port


@pytest.fixture(scope="module", autouse=True)
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, int]]:
    """A server; the port asked for is busy."""
    out = tmp_path_factory.mktemp("served")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        server = Server(prepare_store(None, out=out), busy.getsockname()[1])
        yield server, out, busy.getsockname()[1]
        if server.process.poll() is None:
            server.stop()


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

"""What the doctor says of installations and addresses that are really broken; it never raises nor tells a secret."""

import http.server
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthbox import doctor
from depthbox.doctor import Check, diagnose, render

SECRET = "Tr0ub4dor-9"


@pytest.fixture(scope="module", autouse=True)
def torch_first() -> None:
    """Imported once here, so that the time a test measures is the doctor's own."""
    import torch  # noqa: F401
    import torchvision.ops  # noqa: F401


@pytest.fixture
def answering() -> Iterator[tuple[int, list[int]]]:
    """A loopback HTTP server: its port, and the status it answers with."""
    status = [200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, status
        server.shutdown()


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_this_installation_is_sound(tmp_path: Path) -> None:
    checks = diagnose(uri=f"sqlite:///{tmp_path}/new/mlflow.db", ray_address=None)
    assert [check for check in checks if check.ok is False] == []
    assert {"python", "packages", "torch", "gpu", "cpu", "memory", "disk here", "ray", "mlflow"} <= {
        c.name for c in checks
    }
    assert named(checks, "torch").says.endswith("one build")
    assert list(tmp_path.iterdir()) == []
    assert render(checks).endswith("nothing is wrong")


def test_lines_are_aligned_and_carry_the_next_step() -> None:
    checks = [
        Check(name="a", ok=True, says="fine"),
        Check(name="longer", ok=False, says="broken", next_step="mend it"),
        Check(name="b", ok=None, says="absent"),
    ]
    assert render(checks).splitlines() == [
        "ok  a       fine",
        "NO  longer  broken",
        "            next: mend it",
        "--  b       absent",
        "1 of 3 findings need attention",
    ]


def test_torchvision_of_another_build_is_named_with_its_repair(tmp_path: Path) -> None:
    """The error is torchvision's own, raised where it is raised: on import."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        'import torch\ntorch.library.register_fake("torchvision::nms")(lambda *_: None)\n'
    )
    code = "from depthbox.doctor import _torch_pair; c = _torch_pair(); print(c.ok, c.says, c.next_step, sep='|')"
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(doctor.__file__).parents[1]}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    ok, says, next_step = done.stdout.strip().split("|")
    assert (ok, done.stderr) == ("False", "")
    assert "are not of one build" in says
    assert "torchvision::nms does not exist" in says
    assert "uv sync" in next_step
    assert "index" in next_step


def test_a_package_below_its_floor_and_one_that_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm-0.1.dist-info").mkdir()
    (tmp_path / "timm-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.1\n")
    (tmp_path / "depthbox-9.dist-info").mkdir()
    (tmp_path / "depthbox-9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: depthbox\nVersion: 9\nRequires-Dist: timm>=1.0.20\n"
        "Requires-Dist: not-there-at-all>=1\nRequires-Dist: numpy>=2.0\nRequires-Dist: x; python_version<'3'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    checks = doctor._packages()
    assert named(checks, "packages").says == "1 of 3 as needed"
    assert (named(checks, "timm").ok, named(checks, "timm").says) == (False, "is 0.1, needed is >=1.0.20")
    assert named(checks, "not-there-at-all").ok is None


def test_a_gpu_that_torch_cannot_use() -> None:
    assert doctor._no_gpu(False, "13.0", "").ok is None
    assert "CUDA build" in doctor._no_gpu(True, None, "").next_step
    driver = doctor._no_gpu(True, "13.0", "the driver is too old")
    assert (driver.ok, "the driver is too old" in driver.says) == (False, True)


def test_ray_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert doctor._ray(None).ok is None
    assert "no Ray runs" in doctor._ray("auto").says
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", f"http://ann:{SECRET}@127.0.0.1:{port}"):
            check = doctor._ray(address)
            assert (check.ok, SECRET in check.says) == (True, False)
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
        assert doctor._ray("auto").ok
    check = doctor._ray("auto")
    assert (check.ok, bool(check.next_step)) == (False, True)
    assert f"port {port} does not answer" in check.says
    assert named(diagnose(uri="none", ray_address="http://host:port:9"), "ray").ok is False


def test_the_hints_for_ray_logins_and_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "UV_RUN_RECURSION_DEPTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert doctor._ray_login().ok
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert "get-auth-token" in doctor._ray_login().next_step
    (tmp_path / "token").write_text(SECRET)
    assert doctor._ray_login().ok
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert "RAY_AUTH_MODE=token" in doctor._ray_login().next_step
    assert SECRET not in doctor._ray_login().says

    assert doctor._uv_hook().ok
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0" in doctor._uv_hook().next_step
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    assert doctor._uv_hook().ok


def test_tracking_servers(answering: tuple[int, list[int]]) -> None:
    port, status = answering
    uri = f"http://ann:{SECRET}@127.0.0.1:{port}"
    assert doctor._mlflow(uri).ok
    status[0] = 401
    refused = doctor._mlflow(uri)
    assert (refused.ok, "refuses the credentials" in refused.says) == (False, True)
    assert "MLFLOW_TRACKING_PASSWORD" in refused.next_step
    status[0] = 502
    assert doctor._mlflow(uri).ok is False
    away = diagnose(uri=f"http://ann:{SECRET}@127.0.0.1:{closed_port()}", ray_address=None)
    assert named(away, "mlflow").ok is False
    assert SECRET not in render(away)


def test_tracking_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(uri: str) -> Check:
        return named(diagnose(uri=uri, ray_address=None), "mlflow")

    (tmp_path / "text").write_text("no database " * 100)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table pictures (id int)")
    assert said("none").ok is None
    assert said(f"sqlite:///{tmp_path}/new.db").ok is None
    assert "not a database" in said(f"sqlite:///{tmp_path}/text").says
    assert "cannot be written" in said(f"sqlite:///{tmp_path}/text/new.db").says
    assert "not one of MLflow" in said(f"sqlite:///{tmp_path}/other.db").says
    assert "sqlite:///FILE" in said("mlruns").says
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert (said(f"sqlite:///{tmp_path}/new.db").ok, "not installed" in said("sqlite:///a.db").says) == (None, True)


def test_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPTHBOX_DATA", raising=False)
    assert doctor._data_root().ok is None
    monkeypatch.setenv("DEPTHBOX_DATA", str(tmp_path))
    assert doctor._data_root().ok
    monkeypatch.setenv("DEPTHBOX_DATA", str(tmp_path / "gone"))
    assert doctor._data_root().ok is False


def test_little_room_and_container_limits(tmp_path: Path) -> None:
    gib = 2**30
    rooms = [doctor._room("x", free * gib, 9 * gib, at_least=4 * gib, hint="close programs") for free in (5, 2, 0.5)]
    assert [room.ok for room in rooms] == [True, None, False]
    assert [room.next_step for room in rooms] == ["", "close programs", "close programs"]
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "none").write_text("max 100000\n")
    limits = [doctor._limit(tmp_path / name) for name in ("cpu.max", "none", "absent")]
    assert limits == [1.5, None, None]


def test_a_check_that_fails_itself_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Check:
        raise RuntimeError(f"at http://ann:{SECRET}@host")

    monkeypatch.setattr(doctor, "_cpu", broken)
    check = named(diagnose(uri="none", ray_address=None), "cpu")
    assert (check.ok, "cannot be checked" in check.says, SECRET in check.says) == (False, True, False)

"""MLflow's pages for a store, served lean and for this machine alone."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking.store import artifact_root, http_state, prepare_store, sqlite_path, tracking_uri
from depthbox.tracking.words import redacted

__all__ = ["dashboard", "free_port"]

START_LIMIT_S, STOP_LIMIT_S = 120.0, 5.0
PORTS_TRIED = 50


def dashboard(uri: str | None, *, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve the store at `uri` until Ctrl-C, which ends the server with its children; returns the exit code (130 then).

    A busy port is named and the next free one taken. Two processes and 0.5 GB, where MLflow's defaults are 15 and 3.
    """
    uri = tracking_uri(uri)
    if uri == "none":
        raise UsageError("tracking.uri=none: nothing was tracked; name a store, such as tracking.uri=sqlite:///FILE")
    root = artifact_root(uri)
    if root is None:
        print(f"A server shows these runs already: {redacted(uri)}")
        return 0
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise InputError(database, "", "no tracking store is here yet", "train, or give tracking.uri=sqlite:///FILE")
    prepare_store(uri)
    free = free_port(host, port)
    if free != port:
        print(f"Port {port} is busy, taking {free}.")
    with tempfile.TemporaryFile() as output, _server(_command(root, host, free), uri, output) as server:
        return _serve(server, output, f"http://{host}:{free}", redacted(uri))


def free_port(host: str, port: int) -> int:
    """`port`, or the next one that nobody listens on; `InputError` if 50 in a row are taken."""
    if not 0 < port < 65536:
        raise UsageError(f"port={port}: allowed are 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, candidate))
            return candidate
    cause = f"cannot listen here, nor on the next {PORTS_TRIED} ports"
    raise InputError(f"{host}:{port}", "", cause, "give another host or port")


def _command(root: str, host: str, port: int) -> list[str]:
    where = ["--host", host, "--port", str(port), "--artifacts-destination", root]
    return [sys.executable, "-m", "mlflow", "server", *where, "--workers", "1"]


@contextlib.contextmanager
def _server(command: list[str], uri: str, output: IO[bytes]) -> Iterator[subprocess.Popen]:
    """The server in its own process group, ended with the block; the URI travels in the environment, not in `ps`."""
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
    }
    server = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield server
    finally:
        signal.signal(signal.SIGTERM, before)
        _end_group(server)


def _serve(server: subprocess.Popen, output: IO[bytes], address: str, store: str) -> int:
    try:
        end = time.monotonic() + START_LIMIT_S
        while server.poll() is None and not http_state(address, wait_s=1.0)[0]:
            if time.monotonic() > end:
                raise InputError(address, "", f"MLflow did not start in {START_LIMIT_S:.0f} s", "see `depthbox doctor`")
            time.sleep(0.2)
        if server.poll() is None:
            print(f"{store} is shown at {address} (Ctrl-C ends it)", flush=True)
        server.wait()
    except KeyboardInterrupt:
        return 130
    output.seek(0)
    last = output.read().decode(errors="replace").strip().splitlines()[-5:]
    raise InputError(store, "", f"MLflow's server ended: {redacted(' / '.join(last))}", "see `depthbox doctor`")


def _end_group(server: subprocess.Popen) -> None:
    """SIGTERM to the server and its children, SIGKILL to what is left after 5 s."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

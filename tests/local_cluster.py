"""`cluster/local.py` as a user starts it, on free ports, with a token of its own: for tests that need several nodes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["REPOSITORY", "LocalCluster", "free_port", "local_cluster"]

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class LocalCluster:
    process: subprocess.Popen
    port: int
    dashboard: str
    token: Path
    env: Mapping[str, str]
    """What the welcome asks a user to export, on top of this process's variables."""

    def run(self, *words: object, timeout_s: float = 360, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in the repository, its words as they are; `python`, `ray` and `depthbox` are this installation's."""
        return subprocess.run(
            [str(word) for word in words], env=dict(self.env) | env, cwd=REPOSITORY, timeout=timeout_s, text=True, capture_output=True
        )  # fmt: skip

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def local_cluster(folder: Path, *words: str, **env: str) -> Iterator[LocalCluster]:
    port, dashboard_port = free_port(), free_port()
    token = folder / "secret" / "token"
    outer = {k: v for k, v in os.environ.items() if not k.startswith("RAY_ADDRESS")} | {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": str(REPOSITORY),
        **env,
    }
    command = [sys.executable, "cluster/local.py", "--port", str(port), "--dashboard-port", str(dashboard_port), *words]
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=outer, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        said = [process.stdout.readline() for _ in range(3)]
        assert said[0].startswith("ready: "), (said, (folder / "cluster.log").read_text())
        exported = dict(word.split("=", 1) for word in said[1].split()[1:])
        yield LocalCluster(
            process=process, port=port, dashboard=exported["RAY_API_SERVER_ADDRESS"], token=token, env=outer | exported
        )
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        _, left = psutil.wait_procs(started, timeout=30)  # on a busy machine they end after it
        left = [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        for one in left:
            one.kill()
        assert not left, f"{len(left)} processes outlived their cluster"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

"""A small Ray cluster on this machine: a head and worker nodes, each with processes of its own, on loopback, with a token.

python cluster/local.py --workers 2 --cpus 1      # Ctrl-C ends it and everything on it
"""

import argparse
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

MIB = 2**20
LOOPBACK = "127.0.0.1"
ATTEMPTS = 90
NODES_WAIT_S = 180
"""Until all nodes have joined, on a machine that is busy with other things; Ray's own 30 s a node are too short there."""
STOP_WAIT_S = "60"
"""How long `ray job stop` waits for a run's checkpoint; Ray's own 3 s may end before the step does."""


def main() -> int:
    asked = _asked()
    for port in (asked.port, asked.dashboard_port):
        if _taken(port):
            print(
                f"port {port} of {LOOPBACK} is taken: does a cluster run here already? Give another one",
                file=sys.stderr,
            )
            return 1
    folder = tempfile.mkdtemp(prefix="ray-local-")
    os.environ |= _environment(token_file(), folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _serve(asked)
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def token_file() -> Path:
    """Where Ray looks for the token (RAY_AUTH_TOKEN_PATH, else ~/.ray/auth_token); made where there is none, and closed to others."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    path.chmod(0o600)
    return path


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="worker nodes (2)")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs that each declares (1); they need not exist")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that each declares (0)")
    parser.add_argument("--object-store", type=int, default=256, help="MiB of shared memory a node (256)")
    parser.add_argument("--port", type=int, default=6379, help="of the head (6379)")
    parser.add_argument("--dashboard-port", type=int, default=8265, help="of the dashboard, which takes jobs (8265)")
    return parser.parse_args()


def _environment(token: Path, folder: str) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # Without it Ray replaces 127.0.0.1 by the machine's address, and listens on every interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray notes the newest cluster of a machine there; a plain ray.init() elsewhere must not find this one.
        "RAY_TMPDIR": folder,
        "RAY_raylet_start_wait_time_s": "90",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": STOP_WAIT_S,
        # `ray job submit -- python ...` and `-- depthbox ...` mean this installation.
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
    }


def _serve(asked: argparse.Namespace) -> int:
    from ray.cluster_utils import Cluster

    store = asked.object_store * MIB
    head = {
        "gcs_server_port": asked.port,
        "dashboard_host": LOOPBACK,
        "dashboard_port": asked.dashboard_port,
        "dashboard_agent_listen_port": 0,  # a fixed one is taken where another cluster runs, and then no job starts
        "include_dashboard": True,
        "num_cpus": 0,
        "object_store_memory": store,
        # Ray lowers the priority of its workers; depthbox does so with the data stages alone.
        "_system_config": {"worker_niceness": 0},
    }
    cluster = Cluster()
    try:
        cluster.add_node(wait=False, node_ip_address=LOOPBACK, **head)
        for _ in range(asked.workers):
            cluster.add_node(
                wait=False,
                node_ip_address=LOOPBACK,
                num_cpus=asked.cpus,
                num_gpus=asked.gpus,
                object_store_memory=store,
            )
        cluster.wait_for_nodes(timeout=NODES_WAIT_S)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # each node has put its own there
        _wait_for_jobs(f"http://{LOOPBACK}:{asked.dashboard_port}")
        print(_welcome(asked), flush=True)
        threading.Event().wait()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        cluster.shutdown()
    return 0


def _wait_for_jobs(address: str) -> None:
    """The dashboard answers seconds before the agent that starts jobs does: ready is who has taken one."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)
    for attempt in range(ATTEMPTS):
        try:
            client.submit_job(entrypoint="true")
            return
        except RuntimeError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(1.0)


def _welcome(asked: argparse.Namespace) -> str:
    names = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": os.environ["RAY_AUTH_TOKEN_PATH"],
        "RAY_API_SERVER_ADDRESS": f"http://{LOOPBACK}:{asked.dashboard_port}",
    }
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in names.items())
    nodes = f"a head and {asked.workers} worker nodes of {asked.cpus} CPUs, on {LOOPBACK} alone"
    return f"ready: {nodes}\nexport {exports}\nray job submit --working-dir . -- python -m depthbox train METHOD ..."


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


if __name__ == "__main__":
    sys.exit(main())

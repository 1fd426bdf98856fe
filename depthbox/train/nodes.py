"""[Ray] The machines of a cluster before a run: each worker, actor and task fits on one of them, and all see the same files."""

import os
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from depthbox.core.errors import InputError
from depthbox.tracking import redacted, tracking_uri
from depthbox.train.job import Job
from depthbox.train.resources import ResourcePlan

__all__ = ["check_address", "check_nodes"]

ANSWER_S = 5.0


def check_address(address: str) -> None:
    """Raise `InputError` at once where nothing listens: Ray itself tries for a minute, then ends the process."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None or address in ("auto", "local"):
        return
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S).close()
    except OSError as error:
        cause = f"no Ray cluster answers ({error.strerror or error}); it may have ended"
        raise InputError(address, "", cause, "start it, or name another with ray.address= or RAY_ADDRESS") from error


def check_nodes(job: Job, plan: ResourcePlan) -> None:
    """Raise `InputError` where a piece of the run fits no machine, or a machine does not see the run folder or the photos."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    plan.check_room([node["Resources"] for node in nodes])
    wanted = [] if job.experiment.storage else [str(job.out / "experiment.json")]
    wanted += [] if job.source.copy else [job.source.data.records[0].path]
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node["NodeID"] != here and node["Resources"].get("CPU", 0)]
    if others:
        _check_tracking(job)
    for node, missing in zip(others, _missing(others, wanted), strict=True):
        if missing:
            next_step = (
                "put it on storage that every machine mounts there, or use data.root=s3://... and storage=s3://..."
            )
            raise InputError(missing[0], "", f"is not seen by the machine {node['NodeManagerAddress']}", next_step)


def _check_tracking(job: Job) -> None:
    """Where machines share no disk, a database in the driver's folder would stay empty."""
    uri = tracking_uri(job.experiment.tracking.uri or None, out=job.out)
    if job.experiment.storage and job.run_id and uri.startswith("sqlite:"):
        cause = "storage= is for machines that share no disk, and this database is on one of them"
        raise InputError(
            redacted(uri), "", cause, "give tracking.uri=http://SERVER:PORT (`depthbox dashboard`) or none"
        )


def _missing(nodes: Sequence[Mapping], paths: list[str]) -> list[list[str]]:
    look = ray.remote(num_cpus=0)(_absent)
    asked = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(paths)
        for node in nodes
    ]
    return ray.get(asked) if paths else [[] for _ in nodes]


def _absent(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]

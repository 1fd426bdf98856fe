"""What a store says about a run afterwards: its curves, and where a person can look at it."""

import logging
import math
import shlex
from functools import partial
from pathlib import Path

from depthbox.tracking.calls import patiently, said
from depthbox.tracking.store import artifact_root, quiet_mlflow, sqlite_path
from depthbox.tracking.words import redacted

__all__ = ["curves_of", "dashboard_command", "model_of_run", "run_page"]

log = logging.getLogger("depthbox.tracking")

Curve = list[tuple[int, float]]


def curves_of(uri: str, run_id: str, *, wait_s: float = 10.0) -> dict[str, Curve]:
    """Every curve of a run but the system's, by step, finite values only. Empty where nothing is tracked, or the store does not answer."""
    if not run_id or uri == "none":
        return {}
    quiet_mlflow()
    try:
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        names = patiently(lambda: list(client.get_run(run_id).data.metrics), wait_s=wait_s)
        curves = {
            name: patiently(partial(client.get_metric_history, run_id, name), wait_s=wait_s)
            for name in sorted(names)
            if not name.startswith("system/")
        }
    except Exception as error:
        log.warning("no curves of run %s: %s", run_id, said(error))
        return {}
    return {
        name: sorted((point.step, point.value) for point in points if math.isfinite(point.value))
        for name, points in curves.items()
    }


def model_of_run(uri: str, run_id: str, folder: Path, *, wait_s: float = 10.0) -> Path | None:
    """The run's `model.safetensors`, copied into `folder` from its artifacts; None where the store knows no such run or model, or does not answer."""
    if not uri or uri == "none":
        return None
    quiet_mlflow()
    try:
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        folder.mkdir(parents=True, exist_ok=True)
        fetch = partial(client.download_artifacts, run_id, "model/model.safetensors", str(folder))
        return Path(patiently(fetch, wait_s=wait_s))
    except Exception as error:
        log.warning("no model of run %s: %s", run_id, said(error))
        return None


def run_page(uri: str, run_id: str) -> str:
    """The page of a run on a tracking server, without credentials; "" where no server is."""
    if not run_id or not uri.startswith(("http://", "https://")):
        return ""
    return f"{redacted(uri).rstrip('/')}/#/runs/{run_id}"


def dashboard_command(uri: str) -> str:
    """The command that shows a store which is no server; the path is relative where the store lies below the current folder."""
    if uri == "none" or artifact_root(uri) is None:
        return ""
    database, here = sqlite_path(uri), Path.cwd()
    if database is not None and database.is_relative_to(here):
        uri = f"sqlite:///{database.relative_to(here)}"
    return f"depthbox dashboard {shlex.quote(f'tracking.uri={redacted(uri)}')}"

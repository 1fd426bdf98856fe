"""A run in MLflow: opened or continued by its id, owned by one process, written in the background."""

import contextlib
import logging
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import psutil

from depthbox.core.errors import InputError
from depthbox.tracking.calls import classified, patiently, said
from depthbox.tracking.outbox import Outbox, Point, SendRule, read_unsent
from depthbox.tracking.store import artifact_root, quiet_mlflow
from depthbox.tracking.words import flat_params, flat_tags, redacted, store_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["MlflowTracker", "RunRequest", "experiment_of", "open_run"]

log = logging.getLogger("depthbox.tracking")

ENTITIES = 100  # MLflow's limit of params or tags in a batch
OPEN_WAIT_S, RESUME_WAIT_S, CHILD_WAIT_S, FINISH_WAIT_S = 10.0, 60.0, 120.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """Which run to open in a prepared store: a new one, or `run_id` again. `out` keeps what could not be sent."""

    uri: str
    experiment: str
    run_name: str
    run_id: str | None
    out: Path | None


def open_run(request: RunRequest, *, params: Mapping[str, object], tags: Mapping[str, str]) -> "MlflowTracker":
    """Open the store, create the run or set it RUNNING again, write params and tags.

    Raises `InputError` (place without credentials) if the store does not answer in 10 s, in 60 s for a known run, in two minutes for a child: its study
    is under way, and a store that restarts must not cost it a trial.
    """
    quiet_mlflow()
    from mlflow import MlflowClient

    uri, client = request.uri, MlflowClient(request.uri)
    wait_s = RESUME_WAIT_S if request.run_id else OPEN_WAIT_S
    wait_s = CHILD_WAIT_S if "mlflow.parentRunId" in tags else wait_s
    try:
        # Part of the creation: a child that a kill leaves behind at once is a child all the same.
        family = {name: value for name, value in tags.items() if name == "mlflow.parentRunId"}
        run, new_tags = patiently(lambda: _run(client, uri, request, family), wait_s=wait_s)
        tracker = MlflowTracker(client, uri=uri, run=run, unsent=_folder(uri, request.out) / "mlflow-unsent.jsonl")
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            redacted(uri), "", f"cannot open a run: {said(error)}", "start the server, or see `depthbox doctor`"
        ) from None
    tracker.params(params)
    tracker.tags({**new_tags, **tags})
    return tracker


class MlflowTracker:
    """The `Tracker` that writes to MLflow: a client and an explicit run id, none of MLflow's global state."""

    def __init__(self, client: "MlflowClient", *, uri: str, run: "Run", unsent: Path) -> None:
        self.run_id: str = run.info.run_id
        self._client, self._uri, self._experiment_id = client, uri, run.info.experiment_id
        self._params = dict(run.data.params)
        self._last = {metric.key: metric.step for metric in run.data.to_proto().metrics}
        for point in read_unsent(unsent, run_id=self.run_id):
            self._last[point.key] = max(point.step, self._last.get(point.key, -1))
        self._images = _images_there(client, self.run_id) if self._last else set()
        self._started_ms = run.info.start_time
        psutil.cpu_percent()  # the first reading covers no time
        self._finish_lock, self._finished = threading.RLock(), False  # a signal may finish twice
        rule = SendRule(send=self._send, place=f"mlflow at {redacted(uri)}", sample=self._system_metrics)
        self._outbox = Outbox(rule, unsent=unsent, run_id=self.run_id)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Queue one point a name; a step that the curve already has, in this process or before a resume, is dropped."""
        now_ms = int(time.time() * 1000)
        points = []
        for name, value in values.items():
            key = store_name(name)
            if step > self._last.get(key, -1):
                self._last[key] = step
                points.append(Point(key=key, value=float(value), step=int(step), timestamp_ms=now_ms))
        self._outbox.put(points)

    def params(self, values: Mapping[str, object]) -> None:
        """Queue params; one that the run has with another value becomes the tag `param_changed.<name>`."""
        from mlflow.entities import Param

        flat = flat_params(values)
        fresh = {key: value for key, value in flat.items() if key not in self._params}
        changed = {key: value for key, value in flat.items() if self._params.get(key, value) != value}
        self._params.update(fresh)
        for batch in _batches([Param(key, value) for key, value in fresh.items()]):
            self._call(f"params {batch[0].key} ...", partial(self._client.log_batch, self.run_id, params=batch))
        self.tags({f"param_changed.{key}": value for key, value in changed.items()})

    def tags(self, values: Mapping[str, object]) -> None:
        """Queue tags; a tag may be set again."""
        from mlflow.entities import RunTag

        for batch in _batches([RunTag(key, value) for key, value in flat_tags(values).items()]):
            self._call(f"tags {batch[0].key} ...", partial(self._client.log_batch, self.run_id, tags=batch))

    def image(self, path_or_array: "Path | str | np.ndarray", *, key: str, step: int) -> None:
        """Queue a picture of a series: a file, or an array (H, W, 3) u8 or float in [0, 1]; a step is kept once."""
        import PIL.Image

        name = store_name(key).replace(":", "_")
        if (name, step) in self._images:
            return
        self._images.add((name, step))
        image: np.ndarray | PIL.Image.Image
        if isinstance(path_or_array, np.ndarray):
            image = path_or_array.copy()
        else:
            with PIL.Image.open(path_or_array) as file:
                image = file.convert("RGB")
        self._call(f"image {name}", lambda: self._client.log_image(self.run_id, image, key=name, step=step))

    def artifact(self, path: Path | str, *, folder: str = "") -> None:
        """Queue a file, or all of a folder; it must stay until `finish`."""
        path = Path(path)
        if not path.exists():
            raise InputError(path, "", "there is no such file to log")
        log_it = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._call(f"artifact {path}", lambda: log_it(self.run_id, str(path), folder or None))

    def text(self, text: str, name: str) -> None:
        """Queue a text file of the run, without credentials."""
        self._call(f"text {name}", lambda: self._client.log_text(self.run_id, redacted(text), name))

    def flush(self, *, wait_s: float = 2.0) -> bool:
        """Before a checkpoint: wait for the queue; what is still there goes to disk, so that a kill loses no point."""
        if self._outbox.drained(wait_s):
            return True
        self._outbox.set_aside()
        return False

    def release(self, *, wait_s: float = FINISH_WAIT_S) -> None:
        """Send what waits and let go of the run without ending it: another process goes on with it."""
        with self._finish_lock:
            if self._finished:
                return
            self._finished = True
        left = self._outbox.close(wait_s)
        if left:
            log.warning("mlflow at %s lacks, after waiting: %s", redacted(self._uri), "; ".join(left))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"], *, wait_s: float = FINISH_WAIT_S) -> None:
        """Send what waits, at most `wait_s` seconds, and end the run; after it, or after `release`, nothing."""
        with self._finish_lock:
            if self._finished:
                return
            self._finished = True
        end = time.monotonic() + wait_s
        left = self._outbox.close(wait_s)
        try:
            wait_s = max(end - time.monotonic(), 0.0)
            patiently(lambda: self._client.set_terminated(self.run_id, status), wait_s=wait_s)
        except Exception as error:
            left.append(f"the status {status} ({said(error)})")
        if left:
            log.warning(
                "mlflow at %s lacks, after waiting: %s | next: run the same command again, it continues run %s",
                *(redacted(self._uri), "; ".join(left), self.run_id),
            )

    def logged_until(self) -> int:
        """The last step of any curve but the system's, -1 for a new run."""
        return max((step for key, step in self._last.items() if not key.startswith("system/")), default=-1)

    def command_to_open(self) -> str:
        """The command, or for a server the page, that shows the run."""
        if artifact_root(self._uri) is None:
            return f"{redacted(self._uri).rstrip('/')}/#/experiments/{self._experiment_id}/runs/{self.run_id}"
        return f"depthbox dashboard {shlex.quote(f'tracking.uri={redacted(self._uri)}')}"

    def _call(self, what: str, action: Callable[[], object]) -> None:
        self._outbox.call(what, lambda: classified(action))

    def _send(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in points]
        classified(lambda: self._client.log_batch(self.run_id, metrics=metrics))

    def _system_metrics(self) -> None:
        """Sampled by the outbox's thread; the step is the run's age in seconds."""
        with contextlib.suppress(Exception):  # a reading that fails is no reason to say anything
            self.metrics(_system_readings(), step=int(time.time() - self._started_ms / 1000))


def _run(client: "MlflowClient", uri: str, request: RunRequest, family: dict[str, str]) -> tuple["Run", dict[str, str]]:
    """The run asked for (a new one with the tags `family`) and further tags that tell where it comes from; a run that is gone from the store is begun anew."""
    from mlflow.exceptions import MlflowException

    if request.run_id:
        try:
            run = client.get_run(request.run_id)
            if run.info.lifecycle_stage == "active":
                client.update_run(request.run_id, status="RUNNING")
                return run, {}
            log.warning("run %s was deleted in %s; a new one begins", request.run_id, redacted(uri))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            log.warning("run %s is not in %s; a new one begins", request.run_id, redacted(uri))
    experiment_id = experiment_of(client, request)
    origin = {"continues_run": request.run_id} if request.run_id else {}
    run = client.create_run(experiment_id, run_name=request.run_name, tags=family)
    return run, {"mlflow.source.name": "depthbox", **origin}


KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow's pages take the experiment for a study of language models."""


def experiment_of(client: "MlflowClient", request: RunRequest) -> str:
    """The id of the experiment asked for, created where there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(request.experiment)
    if found is None:
        try:
            place = artifact_root(request.uri, out=request.out)
            return client.create_experiment(request.experiment, artifact_location=place, tags=KIND)
        except MlflowException as error:
            found = client.get_experiment_by_name(request.experiment)  # another process was faster
            if found is None:
                raise error from None
    if found.lifecycle_stage != "active":
        record = f"experiment {request.experiment}"
        raise InputError(
            redacted(request.uri), record, "was deleted in MLflow", "restore it there, or give another name"
        )
    return found.experiment_id


def _batches(items: list) -> list[list]:
    return [items[start : start + ENTITIES] for start in range(0, len(items), ENTITIES)]


def _folder(uri: str, out: Path | None) -> Path:
    root = artifact_root(uri)
    return out.absolute() if out else Path(root).parent if root else Path.cwd()


def _images_there(client: "MlflowClient", run_id: str) -> set[tuple[str, int]]:
    """Key and step of the pictures a continued run has; empty if the artefacts cannot be listed."""
    with contextlib.suppress(Exception):
        names = [Path(entry.path).name for entry in client.list_artifacts(run_id, "images")]
        found = [re.match(r"(.+?)\+step\+(\d+)\+timestamp", name) for name in names]
        return {(match[1].replace("~", "/"), int(match[2])) for match in found if match}
    return set()


def _system_readings() -> dict[str, float]:
    """CPU (%), memory (% of the machine, GiB of this process) and each GPU's memory (%), if torch already uses one."""
    readings = {
        "system/cpu_percent": psutil.cpu_percent(),
        "system/memory_percent": psutil.virtual_memory().percent,
        "system/own_memory_gib": psutil.Process().memory_info().rss / 2**30,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(device)
            readings[f"system/gpu{device}_memory_percent"] = 100.0 * (1 - free / total)
    return readings

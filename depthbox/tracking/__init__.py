"""Where a run is written down: the `Tracker` protocol, one that writes nothing, one that writes to MLflow.

Only the files `tracking*.py` know MLflow, and import it when a run is opened: a machine without it trains all the same.
"""

import logging
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from depthbox.tracking.dashboard import dashboard
from depthbox.tracking.store import prepare_store, tracking_uri
from depthbox.tracking.words import redacted

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NullTracker", "Status", "Tracker", "dashboard", "open_tracker", "prepare_store", "redacted", "tracking_uri"]

log = logging.getLogger("depthbox.tracking")

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """One run, owned by one process. Only `flush` and `finish` wait for the store; none raises because it is away."""

    run_id: str

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """One point a name. A step that the curve already has is dropped, so a resumed run logs nothing twice."""

    def params(self, values: Mapping[str, object]) -> None:
        """Settings, nested or flat; one that has changed since the run began becomes the tag `param_changed.<name>`."""

    def tags(self, values: Mapping[str, object]) -> None:
        """Facts about the run that may be set again."""

    def image(self, path_or_array: "Path | str | np.ndarray", *, key: str, step: int) -> None:
        """A picture of a series: a file, or (H, W, 3) u8 or float in [0, 1]."""

    def artifact(self, path: Path | str, *, folder: str = "") -> None:
        """A file or a folder; it must stay until `finish`. The model is the folder "model" (safetensors)."""

    def text(self, text: str, name: str) -> None:
        """A text file `name` of the run."""

    def flush(self, *, wait_s: float = 2.0) -> bool:
        """Call before a checkpoint: after it a kill loses no point; whether everything is in the store already."""

    def release(self, *, wait_s: float = 60.0) -> None:
        """Send what waits and let go of the run without ending it: another process goes on with it."""

    def finish(self, status: Status, *, wait_s: float = 60.0) -> None:
        """End the run, once; waits at most about `wait_s` seconds for the store and says what it lacks."""

    def logged_until(self) -> int:
        """The last step logged, -1 for a new run."""

    def command_to_open(self) -> str:
        """The one command, or the page, that shows the run; "" if nothing is tracked."""


class NullTracker:
    """Writes nothing: `tracking.uri=none`, or a machine without MLflow."""

    run_id = ""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...
    def params(self, values: Mapping[str, object]) -> None: ...
    def tags(self, values: Mapping[str, object]) -> None: ...
    def image(self, path_or_array: "Path | str | np.ndarray", *, key: str, step: int) -> None: ...
    def artifact(self, path: Path | str, *, folder: str = "") -> None: ...
    def text(self, text: str, name: str) -> None: ...
    def release(self, *, wait_s: float = 60.0) -> None: ...
    def finish(self, status: Status, *, wait_s: float = 60.0) -> None: ...

    def flush(self, *, wait_s: float = 2.0) -> bool:
        return True

    def logged_until(self) -> int:
        return -1

    def command_to_open(self) -> str:
        return ""


def open_tracker(  # noqa: PLR0913 - a run's identity (who, where) and its first facts, each named at the call
    uri: str | None,
    *,
    experiment: str,
    run_name: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    run_id: str | None = None,
    out: Path | None = None,
) -> Tracker:
    """Open a new run, or continue `run_id`, at `uri` (default: `sqlite:///<out>/mlflow.db`); the commit becomes a tag.

    `uri` "none", and an MLflow that cannot be imported, give the null tracker. Raises `InputError` (credentials
    removed) where the store cannot be opened, `UsageError` for something that is no URI.
    """
    uri = prepare_store(uri, out=out)
    if uri == "none":
        return NullTracker()
    try:
        from depthbox.tracking.mlflow_run import RunRequest, open_run

        request = RunRequest(uri=uri, experiment=experiment, run_name=run_name, run_id=run_id, out=out)
        return open_run(request, params=params, tags={**_commit(), **tags})
    except ImportError as error:
        log.warning("the run is not tracked: %s", error)
        return NullTracker()


def _commit() -> dict[str, str]:
    """The commit of the repository that this code lies in, as MLflow's tag; nothing outside a repository."""
    git, here = shutil.which("git"), Path(__file__).resolve().parent
    if git is None or "site-packages" in here.parts:
        return {}
    command = [git, "-C", str(here), "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": answer.stdout.strip()} if answer.returncode == 0 else {}

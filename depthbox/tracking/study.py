"""The parent run of a sweep or a table: found again by its digest, it carries table, figures, page, best configuration and a note."""

import json
from collections.abc import Mapping
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.tracking import NullTracker, Status, Tracker, open_tracker, prepare_store
from depthbox.tracking.calls import patiently, said
from depthbox.tracking.store import quiet_mlflow, sqlite_path
from depthbox.tracking.words import TAG_LIMIT, redacted

__all__ = ["DIGEST_TAG", "PARENT_TAG", "Study", "open_study"]

DIGEST_TAG, PARENT_TAG, NOTE_TAG = "depthbox.study", "mlflow.parentRunId", "mlflow.note.content"
LOCK_WAIT_S, OPEN_WAIT_S = 60.0, 10.0


class Study:
    """One process owns it, calls `finish` once on every way out, and gives `child_tags` to each run it starts.

    Everything may be given again (after each cell, or after a restart): a file takes the place of the earlier one.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    @property
    def run_id(self) -> str:
        """Empty where nothing is tracked."""
        return self._tracker.run_id

    def child_tags(self) -> dict[str, str]:
        """For `run(..., tags=)`: what makes a run a child of this one."""
        return {PARENT_TAG: self.run_id} if self.run_id else {}

    def points(self, values: Mapping[str, float], *, step: int) -> None:
        """Curves of the study itself, such as the best score after `step` finished children."""
        self._tracker.metrics(values, step=step)

    def tags(self, values: Mapping[str, object]) -> None:
        self._tracker.tags(values)

    def table(self, name: str, *, markdown: str, csv: str) -> None:
        """The files `name.md` and `name.csv` of the run."""
        self._tracker.text(markdown, f"{name}.md")
        self._tracker.text(csv, f"{name}.csv")

    def figure(self, file: Path) -> None:
        """A picture, in the folder `figures` of the run; the file must stay until `finish`."""
        self._tracker.artifact(file, folder="figures")

    def figure_address(self, file: Path) -> str:
        """Where a note finds a figure: an address below the page that MLflow shows."""
        return f"get-artifact?path=figures/{file.name}&run_uuid={self.run_id}"

    def page(self, file: Path) -> None:
        """A self-contained HTML page, which MLflow shows under Artifacts; it must stay until `finish`."""
        self._tracker.artifact(file)

    def best(self, values: Mapping[str, object]) -> None:
        """The best configuration, as `best.json`."""
        self._tracker.text(json.dumps(values, indent=1, default=str), "best.json")

    def note(self, markdown: str) -> None:
        """What the run's first page says, in Markdown; over 8000 characters it ends at a whole line."""
        self._tracker.tags({NOTE_TAG: _whole_lines(redacted(markdown), TAG_LIMIT)})

    def finish(self, status: Status) -> None:
        """FINISHED, FAILED (a child failed, or the study itself) or KILLED (interrupted)."""
        self._tracker.finish(status)

    def command_to_open(self) -> str:
        """The one command, or the page, that shows the study; "" where nothing is tracked."""
        return self._tracker.command_to_open()


def open_study(uri: str | None, *, experiment: str, name: str, digest: str, out: Path) -> Study:
    """The one run that `digest` has in this experiment of the store: begun, or set RUNNING again after a kill or to go on.

    Processes of one machine that ask at once get the same run; two machines that begin it at a server within the same
    instant do not. Raises `InputError` where the store cannot be opened.
    """
    uri = prepare_store(uri, out=out)
    if uri == "none":
        return Study(NullTracker())
    try:
        run_id = _run_of(uri, experiment=experiment, name=name, digest=digest, out=out)
    except ImportError:
        return Study(NullTracker())
    asked = {"experiment": experiment, "run_name": name, "run_id": run_id, "out": out}
    return Study(open_tracker(uri, params={}, tags={DIGEST_TAG: digest}, **asked))  # type: ignore[arg-type]


def _run_of(uri: str, *, experiment: str, name: str, digest: str, out: Path) -> str:
    quiet_mlflow()
    import filelock
    from mlflow import MlflowClient

    from depthbox.tracking.mlflow_run import RunRequest, experiment_of

    request = RunRequest(uri=uri, experiment=experiment, run_name=name, run_id=None, out=out)
    client, database = MlflowClient(uri), sqlite_path(uri)
    lock = (database.parent if database else out) / ".study.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)

    def found_or_begun() -> str:
        experiment_id = experiment_of(client, request)
        same = f"tags.`{DIGEST_TAG}` = '{digest}'"
        runs = client.search_runs([experiment_id], same, order_by=["attributes.start_time ASC"], max_results=1)
        # The tag is part of the creation, so that a kill cannot leave a parent that is never found again.
        return (
            runs[0] if runs else client.create_run(experiment_id, run_name=name, tags=_first_tags(digest))
        ).info.run_id

    try:
        with filelock.FileLock(lock, timeout=LOCK_WAIT_S):
            return patiently(found_or_begun, wait_s=OPEN_WAIT_S)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            redacted(uri), "", f"cannot open a run: {said(error)}", "start the server, or see `depthbox doctor`"
        ) from None


def _first_tags(digest: str) -> dict[str, str]:
    return {DIGEST_TAG: digest, "mlflow.source.name": "depthbox"}


def _whole_lines(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    more = "\n\n(more in the files of this run)"
    return text[: limit - len(more)].rpartition("\n")[0] + more

"""Runs in a real sqlite store, and what the store holds of them."""

import sqlite3
from pathlib import Path

from depthbox.tracking import Tracker, open_tracker
from depthbox.tracking.store import quiet_mlflow

quiet_mlflow()
SECRET = "Tr0ub4dor-9"


def opened(out: Path, **changes: object) -> Tracker:
    wanted = {"experiment": "tests", "run_name": "a run", "params": {}, "tags": {}, "out": out, **changes}
    return open_tracker(str(wanted.pop("uri", "")) or None, **wanted)


def log_losses(run: Tracker, numbers: range) -> None:
    for step in numbers:
        run.metrics({"loss": step}, step=step)


def rows(out: Path, query: str, *values: object) -> list[tuple]:
    with sqlite3.connect(out / "mlflow.db") as connection:
        return connection.execute(query, values).fetchall()


def steps(out: Path, tracker: Tracker, key: str) -> list[int]:
    found = rows(out, "select step from metrics where run_uuid = ? and key = ? order by step", tracker.run_id, key)
    return [step for (step,) in found]


def facts(out: Path, tracker: Tracker, table: str) -> dict[str, str]:
    return dict(rows(out, f"select key, value from {table} where run_uuid = ?", tracker.run_id))


def status(out: Path, tracker: Tracker) -> str:
    return rows(out, "select status from runs where run_uuid = ?", tracker.run_id)[0][0]

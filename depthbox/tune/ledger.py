"""What a sweep has done so far, as lines of JSON: after a kill the lines are read again, and nothing that ended runs again."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from depthbox.core.errors import InputError
from depthbox.tune.space import Value

__all__ = ["Ledger", "Status", "Trial"]

Status = Literal["running", "done", "stopped", "failed"]


@dataclass(slots=True, kw_only=True)
class Trial:
    """`stopped`: a better one took its place; its scores are those of its last epoch. A member of a population is a chain of such trials."""

    number: int
    digest: str
    changes: Mapping[str, Value]
    folder: str
    """Below the sweep's."""
    parent: int | None = None
    """The trial whose checkpoint it starts from."""
    last_epoch: int
    """It ends there, whatever its scores."""
    status: Status = "running"
    curve: dict[int, float] = field(default_factory=dict)
    """Epoch -> metric."""
    condemned: bool = False
    """It was told to stop."""
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    """Of its runs, all tries together, without the start of its process."""
    times: list[float] = field(default_factory=list)
    """Of its events, in seconds since 1970."""
    run_id: str = ""
    error: str = ""

    @property
    def epoch(self) -> int:
        return max(self.curve, default=0)

    @property
    def score(self) -> float | None:
        return self.curve[self.epoch] if self.curve else None

    @property
    def ended(self) -> bool:
        return self.status != "running"


class Ledger:
    """Every change is one line, written before it counts. Raises `InputError` for a line that is none of these."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.trials: dict[int, Trial] = {}
        self.reports: list[tuple[int, int, float]] = []
        """Trial, epoch, metric in the order in which they came."""
        for number, line in enumerate(_whole_lines(file), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                cause = f"is no event of a sweep ({error})"
                raise InputError(
                    file, f"line {number}", cause, "remove the sweep's folder, or give another out="
                ) from None

    def begin(self, trial: Trial) -> Trial:
        """The ledger's own record of it."""
        names = ("number", "digest", "changes", "folder", "parent", "last_epoch")
        self._write({"event": "begin", **{name: getattr(trial, name) for name in names}})
        return self.trials[trial.number]

    def report(self, number: int, *, epoch: int, score: float, scores: Mapping[str, float]) -> None:
        self._write({"event": "report", "number": number, "epoch": epoch, "score": score, "scores": dict(scores)})

    def condemn(self, number: int) -> None:
        self._write({"event": "condemn", "number": number})

    def end(self, number: int, status: Status, **facts: object) -> None:
        """`facts`: seconds, run_id, error."""
        self._write({"event": "end", "number": number, "status": status, **facts})

    def retry(self, number: int) -> None:
        """A failed trial is tried again."""
        self._write({"event": "retry", "number": number})

    def _write(self, event: dict[str, object]) -> None:
        event = {**event, "at": round(time.time(), 3)}
        with self.file.open("a") as lines:
            lines.write(json.dumps(event) + "\n")
        self._apply(event)

    def _apply(self, event: Mapping) -> None:
        if event["event"] == "begin":
            trial = Trial(**{name: value for name, value in event.items() if name not in ("event", "at")})
            self.trials[trial.number] = trial
        trial = self.trials[event["number"]]
        trial.times.append(event["at"])
        match event["event"]:
            case "begin":
                return
            case "report":
                trial.curve[event["epoch"]], trial.scores = event["score"], event["scores"]
                self.reports.append((trial.number, event["epoch"], event["score"]))
            case "condemn":
                trial.condemned = True
            case "end":
                trial.status = event["status"]
                trial.seconds += event.get("seconds", 0.0)
                trial.run_id, trial.error = event.get("run_id", ""), event.get("error", "")
            case "retry":
                trial.status, trial.error = "running", ""
            case other:
                raise ValueError(f"unknown event {other!r}")


def _whole_lines(file: Path) -> Iterator[str]:
    """A kill may have cut the last line short: what it said has not happened, and the next line must not be glued to it."""
    if not file.exists():
        return
    text = file.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.write_text(whole)
    yield from whole.splitlines()

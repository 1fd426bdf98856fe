"""Points on their way to a tracking store: sent in the background, in order, batched; nothing lost while it is away."""

import dataclasses
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from depthbox.tracking.calls import StoreAway

__all__ = ["Outbox", "Point", "SendRule", "read_unsent"]

log = logging.getLogger("depthbox.tracking")

BATCH = 1000  # MLflow's limit of a log_batch
QUEUE_LIMIT = 50_000  # points in memory (about 10 MB); beyond it they wait in the file
IDLE_S = 0.25
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of one curve. A store drops an exact copy, time stamp included, so sending twice is harmless."""

    key: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRule:
    """How points leave: `send` takes at most 1000, `StoreAway` means ask again; `sample` puts readings of its own."""

    send: Callable[[Sequence[Point]], None]
    place: str  # the store's name in messages; no credentials
    sample: Callable[[], None] = lambda: None
    sample_every_s: float = 10.0


class Outbox:
    """A bounded queue with one sending thread: putting in costs microseconds whatever the store does.

    What cannot be sent goes to `unsent` (JSON lines) and is sent from there when the store is back, at the end, or
    by the next process that opens the run. Files given to `call` must stay until `close`.
    """

    def __init__(self, rule: SendRule, *, unsent: Path, run_id: str) -> None:
        self._rule, self._unsent, self._run_id = rule, unsent, run_id
        self._points: deque[Point] = deque()
        self._flight: list[Point] = []
        self._calls: deque[tuple[str, Callable[[], object]]] = deque()
        self._lock = threading.Lock()
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._file_waits = True  # an earlier process of this run may have left points there
        self._away_since: float | None = None
        self._refused = 0
        self._sample_at = time.monotonic() + min(rule.sample_every_s, 1.0)
        self._thread = threading.Thread(target=self._work, name="depthbox-tracking", daemon=True)
        self._thread.start()

    def put(self, points: Iterable[Point]) -> None:
        """Queue points; over the limit all that wait move to the file."""
        with self._lock:
            self._points.extend(points)
            full = len(self._points) > QUEUE_LIMIT
        if full:
            self.set_aside()

    def call(self, what: str, action: Callable[[], object]) -> None:
        """Queue something else to do at the store, in order, repeated while it raises `StoreAway`."""
        with self._lock:
            self._calls.append((what, action))

    def drained(self, wait_s: float) -> bool:
        """Wait until nothing is queued, at most `wait_s` seconds, not at all for a store that is away; whether so."""
        end = time.monotonic() + wait_s
        while not self._empty() and time.monotonic() < end and self._away_since is None:
            time.sleep(0.01)
        return self._empty()

    def set_aside(self) -> None:
        """Move the waiting points to the file, so that they outlive this process."""
        with self._lock:
            points = [*self._flight, *self._points]
            self._points.clear()
        try:
            self._append(points)
            self._file_waits = True
        except OSError as error:
            log.error("%d points are lost: %s is away and %s cannot be written", len(points), self._rule.place, error)

    def close(self, wait_s: float) -> list[str]:
        """Send what is left within `wait_s` seconds, end the thread; returns in words what could not be sent."""
        self._closing.set()
        self._thread.join(wait_s)
        self._given_up.set()
        self._thread.join(1.0)
        self.set_aside()
        left = [what for what, _ in self._calls]
        kept = len(read_unsent(self._unsent, run_id=self._run_id))
        refused = [f"{self._refused} points the store refuses"] if self._refused else []
        return [*([f"{kept} points, kept in {self._unsent}"] if kept else []), *refused, *left]

    def _work(self) -> None:
        pause_s = 0.0
        while not self._given_up.is_set():
            busy = False
            try:
                self._sample()
                busy = self._send_points() or self._send_call() or self._send_file()
                pause_s = 0.0
                if busy:
                    self._back()
                elif self._closing.is_set() and self._empty():
                    return
            except (StoreAway, OSError) as error:  # OSError: the file of unsent points, say on a full disk
                self._away(error)
                pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            if not busy:
                self._given_up.wait(pause_s or IDLE_S)

    def _sample(self) -> None:
        if time.monotonic() >= self._sample_at and not self._closing.is_set():
            self._sample_at = time.monotonic() + self._rule.sample_every_s
            self._rule.sample()

    def _send_points(self) -> bool:
        with self._lock:
            while self._points and len(self._flight) < BATCH:
                self._flight.append(self._points.popleft())
        if not self._flight:
            return False
        self._send(self._flight)
        with self._lock:
            self._flight.clear()
        return True

    def _send(self, points: Sequence[Point]) -> None:
        """Send; points that the store refuses for good are told and dropped, so that they do not block the rest."""
        try:
            self._rule.send(points)
        except StoreAway:
            raise
        except Exception as error:
            if not self._refused:
                log.warning("%s refuses points (%s ...): %s", self._rule.place, points[0].key, error)
            self._refused += len(points)

    def _send_call(self) -> bool:
        if not self._calls:
            return False
        what, action = self._calls[0]
        try:
            action()
        except StoreAway:
            raise
        except Exception as error:
            log.warning("%s: not logged: %s: %s", self._rule.place, what, error)
        with self._lock:
            self._calls.popleft()
        return True

    def _away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("%s is away (%s); the run goes on, its points wait", self._rule.place, error)

    def _back(self) -> None:
        if self._away_since is not None:
            log.warning("%s is back after %.0f s", self._rule.place, time.monotonic() - self._away_since)
            self._away_since = None

    def _empty(self) -> bool:
        with self._lock:
            return not (self._points or self._flight or self._calls or self._file_waits)

    def _append(self, points: Sequence[Point]) -> None:
        if not points:
            return
        lines = "".join(json.dumps({"run_id": self._run_id, **dataclasses.asdict(point)}) + "\n" for point in points)
        self._unsent.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self._unsent}.lock"), self._unsent.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _send_file(self) -> bool:
        """Send this run's points from the file and take them out of it; other runs' lines stay."""
        if not self._file_waits:
            return False
        self._file_waits = False
        points = read_unsent(self._unsent, run_id=self._run_id)
        try:
            for start in range(0, len(points), BATCH):
                self._send(points[start : start + BATCH])
        except StoreAway:
            self._file_waits = True
            raise
        if points:
            _remove_first(len(points), self._unsent, run_id=self._run_id)
        return bool(points)


def read_unsent(path: Path, *, run_id: str) -> list[Point]:
    """The points of a run that wait in the file; a line torn by a kill is passed over."""
    points = []
    for line in _lines(path):
        entry = _entry(line)
        if entry.pop("run_id", None) == run_id:
            points.append(Point(**entry))
    return points


def _remove_first(count: int, path: Path, *, run_id: str) -> None:
    """Take a run's first `count` points out; what was appended while they were sent stays."""
    with filelock.FileLock(f"{path}.lock"):
        kept = []
        for line in _lines(path):
            if count and _entry(line).get("run_id") == run_id:
                count -= 1
            else:
                kept.append(line)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text("".join(kept), encoding="utf-8")
        fresh.replace(path)
        if not kept:
            path.unlink()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def _entry(line: str) -> dict:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}

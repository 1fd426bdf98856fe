"""One line of progress every few seconds, wherever the run is."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["Progress", "Relay", "say"]

WARNING = "warning:"


def say(line: str) -> None:
    """To a person: standard error, at once."""
    print(line, file=sys.stderr, flush=True)


class Relay:
    """The newest line passed from a worker on Ray to the driver through the run folder: Ray's own log forwarding doubles and delays it.

    A warning stays in the file beside the lines after it, so that the driver cannot miss it.
    """

    def __init__(self, out: Path) -> None:
        self._file = out / "progress.txt"
        self._seen: set[str] = set()
        self._warnings: list[str] = []

    def put(self, line: str) -> None:
        part = self._file.with_suffix(".part")
        part.write_text("\n".join([*self._warnings, line]))
        os.replace(part, self._file)
        if line.startswith(WARNING):
            self._warnings.append(line)

    def show_new(self) -> None:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        for line in lines:
            if line not in self._seen:
                say(line)
        self._seen = set(lines)


class Progress:
    """Writes `step 120/1200  loss 1.23  9.8 img/s  4 min left` at most every `every_s` seconds; `write` None is silence."""

    def __init__(
        self, steps: int, *, write: Callable[[str], None] | None = say, every_s: float = 5.0, title: str = ""
    ) -> None:
        self.steps, self.every_s, self.write, self.title = steps, every_s, write, title
        self._started = self._last = time.monotonic()
        self._first_step: int | None = None

    def show(self, metrics: Mapping[str, float], *, step: int) -> None:
        now = time.monotonic()
        if self._first_step is None:
            self._started, self._first_step = now, step
        scored = any(name.startswith("val/") for name in metrics)
        if self.write is None or (now - self._last < self.every_s and step < self.steps and not scored):
            return
        self._last = now
        self.write(self.line(metrics, step=step, now=now))

    def warn(self, text: str) -> None:
        if self.write is not None:
            self.write(f"{WARNING} {self.title}{text}")

    def line(self, metrics: Mapping[str, float], *, step: int, now: float) -> str:
        parts = [f"{self.title}step {step}/{self.steps}"]
        if "loss/total" in metrics:
            parts += [f"loss {metrics['loss/total']:.3f}", f"{metrics['images_per_second']:.1f} img/s"]
        parts += [
            f"{name.removeprefix('val/')} {metrics[name]:.3f}"
            for name in ("val/mask_ap", "val/mask_ap50", "val/box_ap", "val/spearman", "val/abs_rel", "val/miou")
            if not math.isnan(metrics.get(name, math.nan))
        ]
        done = step - (self._first_step or 0)
        if done > 0:
            left = (now - self._started) / done * (self.steps - step)
            parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
        return "  ".join(parts)

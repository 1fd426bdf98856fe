"""A graph of stages from start to end: what has ended is kept, what is missing runs in order, the parent run in MLflow shows all of it."""

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from depthbox.report.table import csv_table, markdown_table
from depthbox.stages.graph import Stages
from depthbox.stages.kinds import LEAVES, Outcome, Place, kind_of, run_stage
from depthbox.tracking.study import Study

__all__ = ["StageRow", "StagesRun"]

log = logging.getLogger("depthbox")

RECORD = "stage.json"
SHOWN = ("best_miou", "miou", "spearman", "abs_rel", "mask_ap", "selected", "depth_inferences", "cache_hits")
"""Numbers of a stage that its row shows, as far as it has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """`state` is "finished" now, "kept" from an earlier time, or "missing"."""

    name: str
    kind: str
    state: str
    folder: Path
    run_id: str = ""
    seconds: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


class StagesRun:
    """`out` holds a folder a stage, named by its digest."""

    def __init__(self, stages: Stages, *, out: Path) -> None:
        self.stages, self.out = stages, out
        self._names = stages.names()
        self._now: set[str] = set()

    def folder(self, name: str) -> Path:
        return self.out / self._names[name]

    def rows(self) -> list[StageRow]:
        """In the order of work."""
        return [self._row(name) for name in self._names]

    def run_missing(self, place: Place, study: Study) -> None:
        """Raises what a stage raises; the stages before it are kept, and the same call goes on with it."""
        missing = [row.name for row in self.rows() if row.state == "missing"]
        for number, name in enumerate(missing, 1):
            place.say(f"stage {number} of {len(missing)}: {name} ({self._row(name).kind})")
            config = self.stages.filled(name, lambda other: str(self.folder(other)))
            since = time.monotonic()
            outcome = run_stage(name, config, self.folder(name), place)
            self._keep(name, outcome, seconds=round(time.monotonic() - since, 1))
            self._now.add(name)
            self.write(study)

    def write(self, study: Study) -> None:
        """The table of the stages, into the folder and into the parent run."""
        columns, rows = self.table()
        markdown = markdown_table(columns, rows)
        (self.out / "stages.md").write_text(markdown + "\n")
        study.table("stages", markdown=markdown, csv=csv_table(columns, rows))
        study.note(markdown)
        ended = sum(row.state != "missing" for row in self.rows())
        study.points({"stages_finished": ended}, step=ended)

    def table(self) -> tuple[list[str], list[list[object]]]:
        """For people: a row a stage."""
        columns = ["stage", "what", "state", "minutes", "results", "run", "folder"]
        return columns, [
            [
                row.name,
                row.kind,
                row.state,
                row.seconds / 60,
                "  ".join(f"{key} {row.scores[key]:.3g}" for key in SHOWN if key in row.scores),
                row.run_id[:8],
                row.folder.name,
            ]
            for row in self.rows()
        ]

    def _row(self, name: str) -> StageRow:
        kind, folder = kind_of(self.stages.stages[name]), self.folder(name)
        said = self._said(name)
        if said is None:
            return StageRow(name=name, kind=kind, state="missing", folder=folder)
        return StageRow(name=name, kind=kind, state="finished" if name in self._now else "kept", folder=folder, **said)

    def _said(self, name: str) -> dict | None:
        """The record of a finished stage; None where there is none, or what it left is gone."""
        leaves = LEAVES.get(type(self.stages.stages[name]))
        if leaves and not (self.folder(name) / leaves).is_file():
            return None
        try:
            return json.loads((self.folder(name) / RECORD).read_text())
        except (OSError, ValueError):
            return None

    def _keep(self, name: str, outcome: Outcome, *, seconds: float) -> None:
        record = {"run_id": outcome.run_id, "scores": dict(outcome.scores), "note": outcome.note, "seconds": seconds}
        file = self.folder(name) / RECORD
        file.with_suffix(".part").write_text(json.dumps(record))
        os.replace(file.with_suffix(".part"), file)

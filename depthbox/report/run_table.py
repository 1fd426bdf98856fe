"""A table from start to end: its missing cells run, then the report is written, beside the results and in MLflow's parent run."""

import logging
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from depthbox.core.config import flatten
from depthbox.report.ablation import Ablation, Cell, Finished, finished_cells, keep
from depthbox.report.cells import at_its_place, run_cell
from depthbox.report.compare import Comparison, compare
from depthbox.report.page import PageFacts, write_page
from depthbox.report.text import csv_text, markdown, note
from depthbox.report.traces import keep_trace, read_trace
from depthbox.tracking import redacted
from depthbox.tracking.read import run_page
from depthbox.tracking.study import Study
from depthbox.train.stop import Interrupted

__all__ = ["TableRun", "stopped"]

log = logging.getLogger("depthbox")

REPORT_EVERY_S = 120.0
"""Plots take seconds, so that after a short cell only the tables are renewed."""


def stopped(error: BaseException) -> bool:
    """Whether someone asked to stop, between cells or in one."""
    return isinstance(error, (KeyboardInterrupt, Interrupted))


@dataclass(slots=True, kw_only=True)
class TableRun:
    """`chosen` is the part of `whole` whose missing cells run now; the report is always about the whole."""

    name: str
    whole: Ablation
    chosen: Ablation
    out: Path
    results: Path
    command: str
    failed: dict[str, str] = field(default_factory=dict)
    """"row, seed n" -> why, of this run."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Plots of the newest report: title -> address for MLflow's note."""
    reported_at: float = -math.inf

    @property
    def uri(self) -> str:
        return self.whole.base.tracking.uri

    def missing(self) -> list[Cell]:
        done = finished_cells(self.results)
        return [cell for cell in self.chosen.cells() if cell.digest not in done]

    def compared(self) -> Comparison:
        return compare(self.whole, finished_cells(self.results))

    def run_missing(self, study: Study, *, limit: int | None) -> None:
        """A cell that fails is told and left for the next time; Ctrl-C passes through. The report is renewed on the way."""
        cells = self.missing()[:limit]
        for number, cell in enumerate(cells, 1):
            title = f"{cell.row}, seed {cell.seed}"
            print(f"cell {number} of {len(cells)}: {title}", file=sys.stderr, flush=True)
            try:
                done = run_cell(cell, self.out, metrics=self.whole.metrics, tags=study.child_tags())
            except Exception as error:
                if stopped(error):
                    raise
                self.failed[title] = redacted(" ".join(str(error).split()) or type(error).__name__)
                log.warning("depthbox: %s failed: %s", title, self.failed[title])
                log.debug("its traceback", exc_info=True)
                continue
            keep(done, self.results / f"{self.name}.jsonl")
            self._keep_trace(cell, done)
            late = time.monotonic() - self.reported_at > REPORT_EVERY_S
            (self.write_report if late else self.write_tables)(study)

    def write_tables(self, study: Study) -> None:
        """Markdown and CSV beside the results and in the parent run, whose note and best configuration are renewed too."""
        found = self.compared()
        texts = {"markdown": markdown(found, name=self.name, run_link=self._run_link), "csv": csv_text(found)}
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{self.name}.md").write_text(texts["markdown"])
        (self.results / f"{self.name}.csv").write_text(texts["csv"])
        study.table(self.name, **texts)
        study.note(note(found, pictures=self.pictures))
        study.tags({"depthbox.cells": f"{found.finished} of {found.cells}"})
        study.points({"cells_finished": found.finished}, step=found.finished)
        if found.best is not None:
            study.best(self._best(found))

    def write_report(self, study: Study) -> Path:
        """The tables, the plots and the page; returns the page."""
        from depthbox.report.figures import draw_plots

        self._find_traces()
        found, folder = self.compared(), self.results / "cells"
        traces = {
            c.digest: t for row in found.rows for c in row.cells if (t := read_trace(c.digest, folder)) is not None
        }
        try:
            plots = draw_plots(self.whole, found, traces, self.out / "figures")
        except ImportError as error:  # a bare GPU box: the page can be written elsewhere
            log.warning("depthbox: no plots: %s", error)
            plots = []
        for plot in plots:
            study.figure(plot.file)
        self.pictures = {plot.title: study.figure_address(plot.file) for plot in plots}
        self.write_tables(study)
        facts = PageFacts(name=self.name, uri=self.uri, command=self.command, failed=self.failed)
        page = write_page(found, plots, self.results / f"{self.name}.html", facts)
        study.page(page)
        self.reported_at = time.monotonic()
        return page

    def _find_traces(self) -> None:
        """Of cells that finished here without one, say because their pictures came later than they."""
        done, folder = finished_cells(self.results), self.results / "cells"
        for cell in self.whole.cells():
            here = (self.out / cell.digest / "result.json").is_file()
            if cell.digest in done and here and read_trace(cell.digest, folder) is None:
                self._keep_trace(cell, done[cell.digest])

    def _keep_trace(self, cell: Cell, done: Finished) -> None:
        """Never the end of a table: the scores are kept already."""
        try:
            experiment = at_its_place(cell, self.out)
            kept = {"run_id": done.run_id, "pictures": cell.seed == self.whole.seeds[0]}
            keep_trace(cell.digest, self.results / "cells", experiment=experiment, **kept)  # type: ignore[arg-type]
        except Exception as error:
            log.warning("depthbox: no curves or pictures of %s, seed %d: %s", cell.row, cell.seed, error)

    def _run_link(self, cell: Finished) -> str:
        page = run_page(self.uri, cell.run_id)
        short = f"`{cell.run_id[:8]}`" if cell.run_id else ""
        return f"[{short}]({page})" if page else short

    def _best(self, found: Comparison) -> dict[str, object]:
        assert found.best is not None
        cell = next(c for c in self.whole.cells() if c.row == found.best.name)
        means = {metric: one.mean for metric, one in found.best.estimates.items()}
        return {"row": found.best.name, "means": means, "settings": flatten(cell.experiment)}

"""A table and its finished cells -> what is known of each row, and how it differs from the first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from depthbox.report.ablation import Ablation, Finished
from depthbox.report.statistics import Difference, Estimate, difference, estimate, holm

__all__ = ["Comparison", "RowResult", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """One row over its finished seeds. `differences` are to the base row; their p is corrected over all rows x metrics of the table."""

    name: str
    anchor: str
    cells: tuple[Finished, ...]
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    corrected_p: Mapping[str, float | None]

    @property
    def minutes(self) -> float | None:
        """Wall time of a cell, on average; cells of one row may come from different machines."""
        return sum(cell.seconds for cell in self.cells) / len(self.cells) / 60 if self.cells else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The first of `rows` is the base."""

    about: str
    metrics: tuple[str, ...]
    rows: tuple[RowResult, ...]
    cells: int
    """How many the table has, finished or not."""

    @property
    def finished(self) -> int:
        return sum(len(row.cells) for row in self.rows)

    @property
    def best(self) -> RowResult | None:
        """The row with the highest mean of the first metric."""
        scored = [row for row in self.rows if self.metrics[0] in row.estimates]
        return max(scored, key=lambda row: row.estimates[self.metrics[0]].mean, default=None)


def compare(table: Ablation, finished: Mapping[str, Finished]) -> Comparison:
    """Only finished cells count; a row without one stands in the table all the same."""
    cells: dict[str, list[Finished]] = {row: [] for row in table.rows}
    for cell in table.cells():
        if cell.digest in finished:
            cells[cell.row].append(finished[cell.digest])
    base = cells[next(iter(table.rows))]
    rows = tuple(_row(table, place, name, cells[name], base) for place, name in enumerate(table.rows))
    family = [(row.name, metric) for row in rows for metric in row.differences]
    corrected = dict(zip(family, holm([row.differences[m].p for row in rows for m in row.differences]), strict=True))
    return Comparison(
        about=table.about,
        metrics=tuple(table.metrics),
        rows=tuple(replace(r, corrected_p={m: corrected[r.name, m] for m in r.differences}) for r in rows),
        cells=len(table.rows) * len(table.seeds),
    )


def _row(table: Ablation, place: int, name: str, cells: list[Finished], base: list[Finished]) -> RowResult:
    scores = {metric: _by_seed(cells, metric) for metric in table.metrics}
    estimates = {metric: estimate(list(values.values())) for metric, values in scores.items()}
    differences = {m: difference(values, _by_seed(base, m)) for m, values in scores.items()} if place else {}
    return RowResult(
        name=name,
        anchor=f"row-{place}",
        cells=tuple(cells),
        estimates={metric: found for metric, found in estimates.items() if found is not None},
        differences={metric: found for metric, found in differences.items() if found is not None},
        corrected_p={},
    )


def _by_seed(cells: list[Finished], metric: str) -> dict[int, float]:
    return {cell.seed: value for cell in cells if math.isfinite(value := cell.scores.get(metric, math.nan))}

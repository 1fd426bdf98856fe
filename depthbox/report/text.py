"""The comparison as text: cells of a table, Markdown for a README or a note, CSV for a program."""

import csv
import io
from collections.abc import Callable

from depthbox.report.ablation import Finished
from depthbox.report.compare import Comparison, RowResult
from depthbox.report.statistics import Difference, Estimate
from depthbox.report.table import markdown_table

__all__ = ["METHOD", "change", "csv_text", "interval", "markdown", "note", "overview", "p_value", "spread"]

METHOD = (
    "Mean ± standard deviation over seeds, [95 % BCa bootstrap interval of the mean] from three seeds on; a bootstrap of so few values is too "
    "narrow. Differences are to the first row, paired by seed, with the paired t test's 95 % interval; p is corrected by Holm over all rows and "
    "metrics of the table."
)
"""How to read the numbers; stands under each of the tables."""


def spread(found: Estimate | None) -> str:
    """
    >>> spread(Estimate(n=2, mean=0.3, sd=0.014, interval=None))
    '0.300 ± 0.014'
    """
    if found is None:
        return "-"
    return f"{found.mean:.3f}" if found.sd is None else f"{found.mean:.3f} ± {found.sd:.3f}"


def interval(bounds: tuple[float, float] | None, *, signed: bool = False) -> str:
    """
    >>> interval((-0.01, 0.2), signed=True)
    '[-0.010, +0.200]'
    """
    return "" if bounds is None else "[{0:{f}}, {1:{f}}]".format(*bounds, f="+.3f" if signed else ".3f")


def change(found: Difference | None) -> str:
    return "-" if found is None else f"{found.mean:+.3f}"


def p_value(p: float | None) -> str:
    """
    >>> p_value(0.0004), p_value(0.04321), p_value(None)
    ('p < 0.001', 'p 0.043', '')
    """
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def overview(found: Comparison) -> tuple[list[str], list[list[object]]]:
    """What a terminal shows: each metric's mean and spread, the first one's difference to the base row, minutes a cell."""
    first = found.metrics[0]
    columns = ["row", "seeds", *found.metrics, f"{first} - base", "p (Holm)", "minutes"]
    return columns, [
        [
            row.name,
            len(row.cells),
            *(spread(row.estimates.get(metric)).replace("±", "+-") for metric in found.metrics),
            change(row.differences.get(first)),
            p_value(row.corrected_p.get(first)).removeprefix("p ") or "-",
            _minutes(row),
        ]
        for row in found.rows
    ]


def markdown(found: Comparison, *, name: str, run_link: Callable[[Finished], str], footer: str = "") -> str:
    """The whole report; each number leads to its row's cells, each cell to its run by `run_link` (Markdown)."""
    results = [
        [
            row.name,
            len(row.cells),
            *(_linked(row, _estimate(row, m)) for m in found.metrics),
            _linked(row, _minutes(row)),
        ]
        for row in found.rows
    ]
    changes = [
        [row.name, *(_linked(row, _change(row, m)) for m in found.metrics)] for row in found.rows if row.differences
    ]
    parts = [
        f"# {name}",
        found.about,
        f"{found.finished} of {found.cells} cells are finished.",
        markdown_table(["row", "seeds", *found.metrics, "minutes a cell"], results),
        *(
            [f"Difference to `{found.rows[0].name}`", markdown_table(["row", *found.metrics], changes)]
            if changes
            else []
        ),
        METHOD,
        "## Cells",
        markdown_table(["row", "seed", "cell", "run", "commit", "machine", "minutes"], _cells(found, run_link)),
        footer,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def note(found: Comparison, *, pictures: dict[str, str]) -> str:
    """What the parent run's first page says: the table, with links to the runs, and the pictures (caption -> address)."""
    first = found.metrics[0]
    columns = ["row", "runs by seed", *found.metrics, "difference", "p (Holm)"]
    rows = [
        [
            row.name,
            " ".join(f"[{cell.seed}](#/runs/{cell.run_id})" if cell.run_id else str(cell.seed) for cell in row.cells)
            or "-",
            *(spread(row.estimates.get(metric)) for metric in found.metrics),
            change(row.differences.get(first)),
            p_value(row.corrected_p.get(first)).removeprefix("p ") or "-",
        ]
        for row in found.rows
    ]
    shown = [f"**{caption}**\n\n![{caption}]({address})" for caption, address in pictures.items()]
    said = f"{found.finished} of {found.cells} cells are finished. The difference is that of {first} to the first row."
    # The table first: MLflow folds all but the first lines of a note.
    return "\n\n".join([markdown_table(columns, rows), said, found.about, *shown, METHOD])


def csv_text(found: Comparison) -> str:
    """One line a row and metric; what is not known is empty. `cells` and `runs` are digests and MLflow ids with blanks between."""
    names = "row metric seeds mean sd low high difference difference_low difference_high p p_holm minutes cells runs"
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names.split())
    for row in found.rows:
        for metric in found.metrics:
            writer.writerow("" if value is None else value for value in _csv_line(row, metric))
    return file.getvalue()


def _csv_line(row: RowResult, metric: str) -> list[object]:
    one, other = row.estimates.get(metric), row.differences.get(metric)
    low, high = (one.interval if one else None) or (None, None)
    from_base = (other.interval if other else None) or (None, None)
    return [
        *(row.name, metric, one.n if one else 0, one and one.mean, one and one.sd, low, high),
        *(other and other.mean, *from_base, other and other.p, row.corrected_p.get(metric)),
        None if row.minutes is None else round(row.minutes, 2),
        " ".join(cell.digest for cell in row.cells),
        " ".join(cell.run_id for cell in row.cells if cell.run_id),
    ]


def _cells(found: Comparison, run_link: Callable[[Finished], str]) -> list[list[object]]:
    return [
        [
            *(f'<a id="{row.anchor}"></a>{row.name}' if not place else row.name, cell.seed, f"`{cell.digest}`"),
            *(run_link(cell) or "-", cell.commit or "-", cell.machine, f"{cell.seconds / 60:.1f}"),
        ]
        for row in found.rows
        for place, cell in enumerate(row.cells)
    ]


def _estimate(row: RowResult, metric: str) -> str:
    one = row.estimates.get(metric)
    return " ".join(part for part in (spread(one), interval(one.interval if one else None)) if part)


def _change(row: RowResult, metric: str) -> str:
    one = row.differences.get(metric)
    parts = (change(one), interval(one.interval if one else None, signed=True), p_value(row.corrected_p.get(metric)))
    return " ".join(part for part in parts if part)


def _minutes(row: RowResult) -> str:
    return "-" if row.minutes is None else f"{row.minutes:.1f}"


def _linked(row: RowResult, text: str) -> str:
    """Brackets inside a link's text are legal where they are balanced."""
    return text if text == "-" else f"[{text}](#{row.anchor})"

"""Numbers as tables: Markdown for a README, rich for a person, plain ASCII for a log.

Cells are text, whole numbers, floats (three decimals) or None; NaN and None read "-". Columns of numbers stand to the
right.
"""

import csv
import io
import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TextIO

__all__ = ["ascii_table", "console_table", "csv_table", "markdown_table"]

Rows = Sequence[Sequence[object]]


def markdown_table(columns: Sequence[str], rows: Rows) -> str:
    """A GitHub table.

    >>> rows = [["box_depth", 0.48159, 300], ["box as mask", float("nan"), None]]
    >>> print(markdown_table(["method", "mask_ap", "steps"], rows))
    | method      | mask_ap | steps |
    | :---------- | ------: | ----: |
    | box_depth   |   0.482 |   300 |
    | box as mask |       - |     - |
    """
    lines, right = _cells(columns, rows, escape="|")
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(columns))]
    rule = [
        "-" * (width - 1) + ":" if to_right else ":" + "-" * (width - 1)
        for width, to_right in zip(widths, right, strict=True)
    ]
    padded = [_padded(line, widths, right) for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], rule, *padded[1:]))


def ascii_table(columns: Sequence[str], rows: Rows) -> str:
    """The same in ASCII alone, for a log file or a terminal of unknown encoding.

    >>> print(ascii_table(["method", "AP"], [["caf\\xe9", 0.5], ["dish", 1]]))
    method     AP
    ------  -----
    caf?    0.500
    dish        1
    """
    lines, right = _cells(columns, rows)
    lines = [[cell.encode("ascii", "replace").decode("ascii") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    rule = ["-" * width for width in widths]
    padded = [_padded(line, widths, right) for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in (padded[0], rule, *padded[1:]))


def csv_table(columns: Sequence[str], rows: Rows) -> str:
    """The same as CSV, with every digit.

    >>> csv_table(["method", "AP"], [["box, depth", 0.48159]])
    'method,AP\\n"box, depth",0.48159\\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def console_table(columns: Sequence[str], rows: Rows, *, title: str = "", file: TextIO | None = None) -> None:
    """Print to `file` (default: standard output) with rich; without rich or a terminal as `ascii_table`."""
    file = file or sys.stdout
    try:
        if not file.isatty():
            raise ImportError
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        print(*([title] if title else []), ascii_table(columns, rows), sep="\n", file=file)
        return
    lines, right = _cells(columns, rows)
    table = Table(title=escape(title) or None, title_justify="left")
    for name, to_right in zip(lines[0], right, strict=True):
        table.add_column(escape(name), justify="right" if to_right else "left")
    for line in lines[1:]:
        table.add_row(*map(escape, line))
    Console(file=file).print(table)


def _cells(columns: Sequence[str], rows: Rows, *, escape: str = "") -> tuple[list[list[str]], list[bool]]:
    """Every line as text, the head first, and which columns stand to the right (those without text)."""
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table: a row has {len(row)} cells for {len(columns)} columns: {list(row)}")
    right = [bool(rows) and not any(isinstance(row[i], str) for row in rows) for i in range(len(columns))]
    lines = [[_text(cell, escape) for cell in row] for row in (columns, *rows)]
    return lines, right


def _text(cell: object, escape: str) -> str:
    if cell is None or (isinstance(cell, Real) and math.isnan(cell)):
        return "-"
    if isinstance(cell, Real) and not isinstance(cell, (Integral, bool)):
        return f"{float(cell):.3f}"
    text = " ".join(str(cell).split())
    return text.replace(escape, "\\" + escape) if escape else text


def _padded(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    cells = zip(line, widths, right, strict=True)
    return [cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells]

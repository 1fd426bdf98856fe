"""What a table says about its rows, in numbers and as text."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from finished_table import TABLE, compared, write_finished_table

from depthbox.report.ablation import Finished
from depthbox.report.compare import Comparison, compare
from depthbox.report.statistics import difference, estimate
from depthbox.report.text import csv_text, markdown, note, overview


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared(write_finished_table(tmp_path_factory.mktemp("finished")))


def test_each_row_is_estimated_and_compared_with_the_first(found: Comparison) -> None:
    base, none, same, other, never = found.rows
    assert (found.finished, found.cells) == (10, 15)
    assert base.estimates["mask_ap"] == estimate([0.30, 0.34, 0.29]) and base.differences == {}
    assert none.differences["mask_ap"] == difference({0: 0.20, 1: 0.25, 2: 0.18}, {0: 0.30, 1: 0.34, 2: 0.29})
    assert same.differences["mask_ap"].mean == 0 and same.corrected_p["mask_ap"] == 1
    assert other.differences["mask_ap"].p is None and other.corrected_p["mask_ap"] is None
    assert (never.cells, never.estimates, never.differences, never.minutes) == ((), {}, {}, None)
    assert base.minutes == pytest.approx(91 / 60)
    assert found.best is other


def test_p_is_corrected_over_rows_and_metrics_together(found: Comparison) -> None:
    none = found.rows[1]
    p = sorted(none.differences[metric].p for metric in found.metrics)
    # four tests: mask_ap and box_ap of two rows, of which two have p = 1
    assert sorted(none.corrected_p.values()) == pytest.approx([4 * p[0], max(4 * p[0], 3 * p[1])])


def test_a_metric_that_a_cell_lacks_is_left_out() -> None:
    (cell, *_) = TABLE.cells()
    kept = {"digest": cell.digest, "row": "another table's name", "seed": 0, "seconds": 60, "machine": "", "commit": ""}
    done = Finished(**kept, scores={"mask_ap": float("nan"), "box_ap": 0.5})
    row = compare(TABLE, {cell.digest: done}).rows[0]
    assert row.estimates.keys() == {"box_ap"} and len(row.cells) == 1


def test_a_table_without_a_finished_cell_has_no_best_row(tmp_path: Path) -> None:
    found = compare(TABLE, {})
    assert found.best is None and "0 of 15 cells" in markdown(found, name="t", run_link=lambda _: "")
    assert len(csv_text(found).splitlines()) == 11


def test_every_number_of_the_markdown_leads_to_the_runs_of_its_row(found: Comparison) -> None:
    text = markdown(found, name="table", run_link=lambda cell: f"[run](http://host/#/runs/{cell.run_id})")
    results = [line for line in text.partition("## Cells")[0].splitlines() if line.startswith("| colour 0.3")]
    (line,) = results
    numbers = [cell.strip() for cell in line.split("|")[3:-1]]
    assert len(numbers) == 3 and all(re.fullmatch(r"\[.+\]\(#row-0\)", number) for number in numbers)
    assert numbers[0].startswith("[0.310 ± 0.026 [0.293, 0.340]]")
    assert set(re.findall(r"\(#(row-\d)\)", text)) == {"row-0", "row-1", "row-2", "row-3"}
    for row in found.rows[:4]:
        assert f'<a id="{row.anchor}"></a>' in text
        assert all(f"http://host/#/runs/{cell.run_id}" in text and f"`{cell.digest}`" in text for cell in row.cells)
    assert "colour \\| 1" in text and "Cost: nothing." in text


def test_the_csv_has_every_number_and_its_cells(found: Comparison) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert len(lines) == 10
    line = next(one for one in lines if (one["row"], one["metric"]) == ("colour 0", "mask_ap"))
    row = found.rows[1]
    assert float(line["mean"]) == row.estimates["mask_ap"].mean
    assert (float(line["low"]), float(line["high"])) == row.estimates["mask_ap"].interval
    assert float(line["difference"]) == row.differences["mask_ap"].mean
    assert float(line["p_holm"]) == row.corrected_p["mask_ap"]
    assert line["cells"].split() == [cell.digest for cell in row.cells]
    assert line["runs"].split() == [cell.run_id for cell in row.cells]
    last = lines[-1]
    assert (last["seeds"], last["mean"], last["p"], last["minutes"]) == ("0", "", "", "")


def test_the_note_begins_with_the_table_and_links_runs_and_pictures(found: Comparison) -> None:
    text = note(found, pictures={"A plot": "get-artifact?path=figures/a.png"})
    assert text.startswith("| row")
    assert f"[0](#/runs/{found.rows[0].cells[0].run_id})" in text
    assert "![A plot](get-artifact?path=figures/a.png)" in text
    assert len(text) < 8000


def test_the_overview_is_ascii_with_a_dash_for_what_is_not_known(found: Comparison) -> None:
    columns, rows = overview(found)
    assert columns == ["row", "seeds", "mask_ap", "box_ap", "mask_ap - base", "p (Holm)", "minutes"]
    assert rows[0] == ["colour 0.3", 3, "0.310 +- 0.026", "0.155 +- 0.013", "-", "-", "1.5"]
    assert rows[3][2:6] == ["0.500", "0.250", "+0.200", "-"]
    assert rows[4] == ["never run", 0, "-", "-", "-", "-", "-"]


def test_a_table_has_the_name_of_its_rows_and_seeds() -> None:
    assert TABLE.digest == TABLE.placed({"data.root": "/elsewhere", "workers": "3"}).digest
    assert len({TABLE.digest, replace(TABLE, seeds=(0,)).digest, replace(TABLE, rows={"a": {}}).digest}) == 3

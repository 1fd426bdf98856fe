"""The plots of a table: which ones there are, and that they show what they say."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished_table import COLOUR, TABLE, compared, write_finished_table
from PIL import Image

from depthbox.report.ablation import finished_cells
from depthbox.report.compare import compare
from depthbox.report.figures import draw_plots, sweeps
from depthbox.report.traces import Trace, read_trace


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished_table(tmp_path_factory.mktemp("finished"))


def traces(results: Path) -> dict[str, Trace]:
    kept = {digest: read_trace(digest, results / "cells") for digest in finished_cells(results)}
    return {digest: trace for digest, trace in kept.items() if trace is not None}


def test_every_plot_of_a_table_is_a_picture_with_something_on_it(results: Path, tmp_path: Path) -> None:
    plots = draw_plots(TABLE, compared(results), traces(results), tmp_path / "figures")
    names = [plot.file.name for plot in plots]
    assert names == [
        *(f"against-{COLOUR}.png", "curves-val-mask_ap.png", "curves-loss-total.png", "classes.png", "pictures.jpg")
    ]
    for plot in plots:
        assert plot.title and plot.says
        pixels = np.asarray(Image.open(plot.file).convert("L"))
        assert min(pixels.shape) > 100 and pixels.std() > 5


def test_without_a_finished_cell_there_is_no_plot(tmp_path: Path) -> None:
    assert draw_plots(TABLE, compare(TABLE, {}), {}, tmp_path) == []


def test_a_sweep_is_three_rows_that_differ_in_one_number() -> None:
    (sweep,) = sweeps(TABLE)
    assert (sweep.path, sweep.rows) == (COLOUR, {0.3: "colour 0.3", 0.0: "colour 0", 1.0: "colour | 1"})
    two = {name: TABLE.rows[name] for name in ("colour 0.3", "colour 0", "never run")}
    assert sweeps(replace(TABLE, rows=two)) == []
    flags = {str(i): {"method.distillation.binary": bool(i % 2), "batch_size": 2 + i % 2} for i in range(4)}
    assert sweeps(replace(TABLE, rows=flags)) == []


def test_the_grid_has_the_truth_and_a_line_a_row(results: Path, tmp_path: Path) -> None:
    plots = draw_plots(TABLE, compared(results), traces(results), tmp_path)
    picture = np.asarray(Image.open(plots[-1].file).convert("RGB")).astype(int)
    middle = picture[:, -100]
    green, purple = (np.abs(middle - colour).sum(axis=1) < 40 for colour in ([0, 128, 0], [76, 40, 200]))
    assert green.sum() == pytest.approx(60, abs=4) and np.flatnonzero(green).max() < np.flatnonzero(purple).min()
    assert purple.sum() == pytest.approx(3 * 60, abs=12)  # the rows of 0.2 and 0.3; "ResNet" is redder


def test_a_file_that_only_says_less_is_read(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"curves": {}, "truth": ""}')
    assert read_trace("d", tmp_path) == Trace()
    assert read_trace("e", tmp_path) is None


def test_drawing_asks_for_no_screen_and_touches_no_global_state() -> None:
    code = "import sys, depthbox.report.figures as f; a = 'matplotlib' in sys.modules; f._panels(3, height=1.0); "
    code += "print(a, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]

"""A table runs what is missing, once, and says what it has."""

import json
from pathlib import Path

import pytest
from tiny_coco import write_tiny_coco

from depthbox.commands.ablate import load_table
from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation, Finished, finished_cells, keep, summary

TABLE = Ablation(base=box_depth(), rows={"base": {}, "no colour": {"method.weights.color_affinity": 0.0}}, seeds=(0, 1))
SMALL_TABLE = """
from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation

BASE = vary(box_depth(), {
    "data.train.images": "photos", "data.train.annotations": "boxes.json",
    "data.val.images": "photos", "data.val.annotations": "instances.json",
    "depth.source": "none", "model.backbone": "test_efficientnet", "model.weights": "none",
    "model.channels": 32, "model.mask_width": 16, "data.views.short_side": 64, "data.views.max_side": 96,
    "batch_size": 2, "schedule.steps": 3, "launcher": "local", "device": "cpu",
})
TABLE = Ablation(base=BASE, rows={"base": {}, "no colour": {"method.weights.color_affinity": 0.0}}, seeds=(0,))
"""


def cell(digest: str, row: str, seed: int, ap: float) -> Finished:
    return Finished(digest=digest, row=row, seed=seed, scores={"mask_ap": ap}, seconds=90, machine="m", commit="c")


def test_every_row_comes_before_the_second_seed_and_each_cell_has_a_name():
    cells = list(TABLE.cells())
    assert [(c.row, c.seed) for c in cells] == [("base", 0), ("no colour", 0), ("base", 1), ("no colour", 1)]
    assert len({c.digest for c in cells}) == 4
    assert all(c.experiment.seed == c.seed for c in cells)


def test_a_cell_has_one_name_on_every_machine():
    elsewhere = TABLE.placed({"data.root": "/mnt/photos", "launcher": "ray", "workers": "4", "tracking.uri": "none"})
    assert [c.digest for c in elsewhere.cells()] == [c.digest for c in TABLE.cells()]


def test_a_setting_that_would_change_the_table_is_refused():
    with pytest.raises(UsageError, match=r"schedule\.steps would change the table"):
        TABLE.placed({"schedule.steps": "3"})


def test_weights_are_part_of_a_cell_by_what_is_in_them(tmp_path: Path) -> None:
    digests = []
    for name, content in (("here", b"one"), ("there", b"one"), ("other", b"two")):
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(content)
        digests.append([c.digest for c in TABLE.placed({"model.weights": str(file)}).cells()])
    here, there, other = digests
    assert here == there and not set(here) & set(other) and not set(here) & {c.digest for c in TABLE.cells()}


def test_mean_and_spread_of_what_is_there(tmp_path):
    names = {(c.row, c.seed): c.digest for c in TABLE.cells()}
    for row, seed, ap in (("base", 0, 0.2), ("base", 1, 0.4), ("no colour", 0, 0.1)):
        keep(cell(names[row, seed], row, seed, ap), tmp_path / "any.jsonl")
    columns, rows = summary(TABLE, finished_cells(tmp_path))
    assert columns[:3] == ["row", "seeds", "mask_ap"]
    assert [row[:3] for row in rows] == [["base", 2, "0.300 ± 0.141"], ["no colour", 1, "0.100"]]
    assert rows[0][3] == "-" and rows[0][-1] == "1.5"


def test_a_line_that_is_no_cell_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"row": 1}\n')
    with pytest.raises(InputError, match=r"t\.jsonl: line 1"):
        finished_cells(tmp_path)


def test_a_file_without_a_table_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no such table"):
        load_table(tmp_path / "no.py")
    (tmp_path / "t.py").write_text("TABLE = 3")
    with pytest.raises(InputError, match="write TABLE = Ablation"):
        load_table(tmp_path / "t.py")


def test_every_table_of_the_repository_builds_every_row():
    for file in sorted((Path(__file__).parents[2] / "experiments").glob("table_*.py")):
        table = load_table(file)
        digests = [c.digest for c in table.cells()]
        assert len(set(digests)) == len(digests) == len(table.rows) * len(table.seeds)


def test_missing_cells_run_once_and_the_table_is_written(tmp_path, capsys):
    from depthbox.cli import main

    root = write_tiny_coco(tmp_path / "data")
    file = tmp_path / "experiments" / "table_small.py"
    file.parent.mkdir()
    file.write_text(SMALL_TABLE)
    words = ["ablate", str(file), f"data.root={root}", f"out={tmp_path / 'out'}", "tracking.uri=none", "--json"]
    assert main([*words, "cells=1"]) == 0
    lines = file.parent / "results" / "table_small.jsonl"
    assert len(lines.read_text().splitlines()) == 1
    first = lines.read_text()
    assert main(words) == 0
    assert lines.read_text().startswith(first) and len(lines.read_text().splitlines()) == 2
    assert main(words) == 0 and len(lines.read_text().splitlines()) == 2
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row[:2] for row in answer["rows"]] == [["base", 1], ["no colour", 1]]
    assert "| no colour |" in (file.parent / "results" / "table_small.md").read_text()
    assert main([*words, "rows=nothing"]) == 2


def test_a_row_may_change_the_method():
    from depthbox.supervision.config import FullConfig

    assert isinstance(vary(box_depth(), {"method": FullConfig()}).method, FullConfig)

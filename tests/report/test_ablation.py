"""What a table is: its rows, its cells and their names, and the cells that are finished."""

from pathlib import Path

import pytest

from depthbox.commands.ablate import load_table
from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation, Finished, finished_cells, keep

TABLE = Ablation(base=box_depth(), rows={"base": {}, "no colour": {"method.weights.color_affinity": 0.0}}, seeds=(0, 1))


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


def test_the_best_of_one_evaluation_is_no_metric():
    with pytest.raises(
        UsageError, match=r"base: best_mask_ap is the best of several evaluations; set schedule\.evaluate_every"
    ):
        Ablation(base=box_depth(), rows={"base": {}}, metrics=("best_mask_ap",))
    often = {"schedule.evaluate_every": 100}
    with pytest.raises(UsageError, match=r"no colour: best_mask_ap"):
        Ablation(base=box_depth(), rows={"base": often, "no colour": {}}, metrics=("mask_ap", "best_mask_ap"))
    assert Ablation(base=vary(box_depth(), often), rows={"base": {}}, metrics=("best_mask_ap",)).digest


def test_weights_are_part_of_a_cell_by_what_is_in_them(tmp_path: Path) -> None:
    digests = []
    for name, content in (("here", b"one"), ("there", b"one"), ("other", b"two")):
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(content)
        digests.append([c.digest for c in TABLE.placed({"model.weights": str(file)}).cells()])
    here, there, other = digests
    assert here == there and not set(here) & set(other) and not set(here) & {c.digest for c in TABLE.cells()}


def test_a_table_builds_on_runs_by_what_their_weights_are_and_on_the_seed(tmp_path: Path) -> None:
    rows = {"ours": {"depth.source": "run:{sde}", "data.train.labelled": "splits/{seed}.txt"}, "theirs": {}}
    table = Ablation(base=box_depth(), rows=rows, seeds=(0, 1), runs={"sde": ""})
    with pytest.raises(UsageError, match="sde=FOLDER is needed"):
        table.digest
    with pytest.raises(InputError, match="holds no model.safetensors"):
        table.placed({"sde": str(tmp_path)}).digest
    digests = []
    for name, content in (("here", b"one"), ("there", b"one"), ("other", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        cells = list(table.placed({"sde": str(tmp_path / name)}).cells())
        assert cells[2].here.depth.source == f"run:{tmp_path / name}"
        assert cells[2].here.data.train.labelled == "splits/1.txt"  # type: ignore[union-attr]
        digests.append([cell.digest for cell in cells])
    here, there, other = digests
    assert here == there and len(set(here)) == 4
    assert [a == b for a, b in zip(here, other, strict=True)] == [False, True, False, True]
    with pytest.raises(UsageError, match="sda would change the table; allowed here are sde, "):
        table.placed({"sda": "x"})


def test_a_finished_cell_is_found_again_whatever_file_it_is_in(tmp_path):
    kept = {"row": "base", "seed": 0, "seconds": 90.0, "machine": "m", "commit": "c"}
    one, other = (Finished(digest=digest, scores={"mask_ap": 0.2}, **kept) for digest in "ab")
    keep(one, tmp_path / "x" / "one.jsonl")
    keep(other, tmp_path / "x" / "other.jsonl")
    assert finished_cells(tmp_path / "x") == {"a": one, "b": other}
    assert finished_cells(tmp_path / "nowhere") == {}


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
    assert load_table(Path(__file__).parents[1] / "finished_table.py").about.startswith("Does colour matter?")


def test_every_table_of_the_repository_builds_every_row(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"of a run that a table builds on")
    for file in sorted((Path(__file__).parents[2] / "experiments").glob("table_*.py")):
        table = load_table(file)
        table = table.placed(dict.fromkeys(table.runs, str(tmp_path)))
        digests = [c.digest for c in table.cells()]
        assert len(set(digests)) == len(digests) == len(table.rows) * len(table.seeds)


def test_a_row_may_change_the_method():
    from depthbox.supervision.config import FullConfig

    assert isinstance(vary(box_depth(), {"method": FullConfig()}).method, FullConfig)

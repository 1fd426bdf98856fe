"""The tables of depth_ssda: they load, every cell has a name of its own, every row is an experiment that could start."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tiny_video import tiny_sde, write_tiny_video

from depthbox.commands.ablate import load_table
from depthbox.commands.definition import load_value
from depthbox.experiment import SemanticDataConfig, TrackingConfig
from depthbox.models.config import DenseModelConfig
from depthbox.report.ablation import Ablation
from depthbox.report.traces import keep_trace, read_trace
from depthbox.stages.graph import Stages
from depthbox.supervision.config import DepthSsdaConfig

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
LADDER, SELECTION, CAMVID = (EXPERIMENTS / f"table_depth_ssda{name}.py" for name in ("", "_selection", "_camvid"))


@pytest.fixture(scope="module")
def sde(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth network of the tables' architecture after one step."""
    from depthbox.train.launch import run

    folder = tmp_path_factory.mktemp("sde")
    write_tiny_video(folder / "video")
    network = {
        "model.backbone": "mobilenetv2_100",
        "model.pose_backbone": "mobilenetv2_100",
        "model.width": 32,
        "schedule.steps": 1,
    }
    return run(tiny_sde(folder / "video", folder / "run", **network)).out


@pytest.fixture(autouse=True)
def _where_splits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXPERIMENTS.parent)


def a_run(folder: Path) -> str:
    (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


@pytest.mark.parametrize("file", [LADDER, SELECTION, CAMVID])
def test_every_cell_has_a_name_of_its_own_and_its_splits_are_there(file: Path, tmp_path: Path):
    table = load_table(file)
    table = table.placed({"sde": a_run(tmp_path)} if table.runs else {})
    cells = list(table.cells())
    assert len({cell.digest for cell in cells}) == len(table.rows) * len(table.seeds) and table.about
    for cell in cells:
        here = cell.here
        assert isinstance(here.data, SemanticDataConfig) and "{" not in here.data.train.labelled
        assert not here.data.train.labelled or Path(here.data.train.labelled).is_file()


def test_random_selection_is_a_row_of_the_ladder(tmp_path: Path):
    words = {"sde": a_run(tmp_path)}
    ladder, selection = (load_table(file).placed(words) for file in (LADDER, SELECTION))
    theirs = {(c.row, c.seed): c.digest for c in ladder.cells()}
    assert [c.digest for c in selection.cells() if c.row == "random"][:3] == [theirs["+ DepthMix", s] for s in range(3)]
    assert selection.seeds == tuple(range(10))


def rows_of(table: Ablation) -> Iterator[tuple[str, DepthSsdaConfig, SemanticDataConfig, DenseModelConfig]]:
    for cell in table.cells():
        method, data, model = cell.experiment.method, cell.experiment.data, cell.experiment.model
        assert isinstance(method, DepthSsdaConfig) and isinstance(data, SemanticDataConfig)
        assert isinstance(model, DenseModelConfig)
        if cell.seed == 0:
            yield cell.row, method, data, model


def test_rows_change_what_their_names_say():
    rows = {name: (method, data, model) for name, method, data, model in rows_of(load_table(LADDER))}
    for name in ("labels alone", "+ transfer", "source and labels", "all labels"):
        assert rows[name][0].mixing == "none" and rows[name][1].labelled_share + rows[name][1].source_share == 1
    assert [rows[name][0].mixing for name in ("+ ClassMix", "+ DepthMix")] == ["class", "depth"]
    assert rows["source alone"][1].labelled_share == 0 and rows["source alone"][1].source_share == 1
    assert [bool(rows[n][2].init) for n in ("labels alone", "+ transfer", "all labels", "all labels, transfer")] == [
        False,
        True,
    ] * 2
    assert rows["+ multi-task"][2].multi_task and rows["+ multi-task"][1].gap == 1
    assert rows["+ matching geometry"][1].pairing == "geometry" and rows["+ target DepthMix"][1].pairing == "random"
    assert not rows["all labels"][1].train.labelled and rows["all labels"][1].views == rows["labels alone"][1].views


def test_a_cell_keeps_the_picture_that_its_run_has_drawn(tmp_path: Path):
    experiment = replace(load_table(CAMVID).base, out=str(tmp_path), tracking=TrackingConfig(uri="none"))
    keep_trace("without", tmp_path / "cells", experiment=experiment, run_id="", pictures=True)
    Image.new("RGBA", (2000, 1000)).save(tmp_path / "predictions.png")
    keep_trace("drawn", tmp_path / "cells", experiment=experiment, run_id="", pictures=True)
    drawn, without = (read_trace(name, tmp_path / "cells") for name in ("drawn", "without"))
    assert drawn is not None and drawn.strip is not None and Image.open(drawn.strip).size == (720, 360)
    assert without is not None and without.strip is None and drawn.truth is None


@pytest.mark.slow
@pytest.mark.parametrize("file", [LADDER, SELECTION, CAMVID])
def test_every_row_could_start(file: Path, sde: Path, shared: Path, tmp_path: Path):
    from depthbox.core.config import vary
    from depthbox.train.prepare import prepare

    root = shared / "data" / ("camvid" if file == CAMVID else "blocks")
    if not root.is_dir():
        pytest.skip(f"{root.name} is absent")
    table = load_table(file)
    words = {"data.root": str(root), "model.weights": "none"} | ({"sde": str(sde)} if table.runs else {})
    for cell in table.placed(words).cells():
        if cell.seed == 0:
            job = prepare(vary(cell.here, {"out": str(tmp_path), "tracking.uri": "none"}))
            assert job.val is not None and len(job.val.records) > 50, cell.row


def test_the_stages_of_blocks_are_a_graph():
    stages = load_value(EXPERIMENTS / "stages_blocks.py", "STAGES", Stages, example="Stages(...)")
    assert stages.order()[0] == "sde" and stages.order()[-1] == "segment"
    assert len(stages.placed({"data.root": "/blocks", "launcher": "ray"}).names()) == 4

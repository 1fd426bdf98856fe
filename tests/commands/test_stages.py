"""`depthbox stages` on video of seconds: order, what is kept, what a change runs again, failures and kills, one MLflow run with its children."""

import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from command_line import Answer, depthbox
from tiny_semantic import write_labelled_video

pytestmark = pytest.mark.usefixtures("one_thread")

DEFINITION = '''
"""Video to classes, in seconds."""

from depthbox.core.config import vary
from depthbox.recipes import depth_ssda, sde
from depthbox.stages.graph import CacheFill, Stages
from depthbox.stages.selecting import Selection

SMALL = {"model.backbone": "test_efficientnet", "model.weights": "none", "model.width": 8, "schedule.precision": "float32", "schedule.log_every": 1,
         "schedule.checkpoint_every": 1, "batch_size": 2, "launcher": "local", "data.processes": 0}
SDE = SMALL | {"model.pose_backbone": "test_efficientnet", "model.pose_weights": "none", "data.train.sequences": "seq_0,seq_1",
               "data.val.sequences": "seq_2", "data.views.short_side": 32, "schedule.steps": 2}
DATA = {"data.table": "table.json", "data.train.images": "seq_[01]/frame_*.png", "data.train.labels": "seq_[01]/semantic_*.png",
        "data.val.images": "seq_2/frame_*.png", "data.val.labels": "seq_2/semantic_*.png", "data.views.short_side": 32, "data.processes": 0}
SEGMENT = SMALL | DATA | {"data.train.labelled": "{select}/selected.txt", "depth.source": "run:{sde}", "model.init": "{sde}", "schedule.steps": 2}

STAGES = Stages(
    stages={
        "segment": vary(depth_ssda(), SEGMENT),
        "select": vary(Selection(images="seq_[01]/frame_*.png", count=2, steps=2), {"depth.source": "run:{sde}"}),
        "cache": vary(CacheFill(), DATA | {"depth.source": "run:{sde}"}),
        "sde": vary(sde(), SDE),
    },
    after={"segment": ("cache",)},
)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`video`, and the definition."""
    folder = tmp_path_factory.mktemp("stages")
    write_labelled_video(folder / "video")
    (folder / "stages_tiny.py").write_text(DEFINITION)
    return folder


def stages(place: Path, *words: str) -> Answer:
    cache = f"depth.cache={place / 'disparity'}"
    return depthbox(
        "stages",
        place / "stages_tiny.py",
        f"data.root={place / 'video'}",
        f"out={place / 'out'}",
        cache,
        *words,
        "--json",
    )


def runs(place: Path) -> dict[str, tuple[str, str, str]]:
    """Run id -> name, status, parent."""
    with sqlite3.connect(place / "out" / "mlflow.db") as database:
        parents = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        found = database.execute("select run_uuid, name, status from runs").fetchall()
    return {run: (name, status, parents.get(run, "")) for run, name, status in found}


def states(answer: Answer) -> dict[str, str]:
    return {row["stage"]: row["state"] for row in answer.json["stages"]}


@pytest.fixture(scope="module")
def first(place: Path) -> Answer:
    answer = stages(place, "select.count=1000")
    assert answer.status == 2 and "count=1000: 12 photos can be read" in answer.err.splitlines()[-1]
    return stages(place)


def test_a_stage_that_fails_keeps_those_before_it_and_the_same_command_goes_on(first: Answer, place: Path):
    assert first.status == 0, first.err
    found = states(first)
    assert found.pop("sde") == "kept" and set(found.values()) <= {"finished", "kept"} and found["segment"] == "finished"
    kinds = {row["stage"]: row["what"] for row in first.json["stages"]}
    assert kinds == {"sde": "train Sde", "cache": "depth cache", "select": "select", "segment": "train DepthSsda"}
    failed = [run for run, (name, status, _) in runs(place).items() if (name, status) == ("stages_tiny", "FAILED")]
    assert len(failed) == 1


def test_results_reach_the_stages_behind(first: Answer, place: Path):
    rows = {row["stage"]: row for row in first.json["stages"]}
    chosen = (Path(rows["select"]["folder"]) / "selected.txt").read_text().split()
    assert len(chosen) == 2 and all(name.startswith(("seq_0/frame_", "seq_1/frame_")) for name in chosen)
    assert rows["cache"]["scores"]["depth_inferences"] + rows["cache"]["scores"]["cache_hits"] == 12
    assert 0 <= rows["segment"]["scores"]["miou"] <= 1
    settings = (Path(rows["segment"]["folder"]) / "experiment.json").read_text()
    assert f"run:{rows['sde']['folder']}" in settings
    result = (Path(rows["segment"]["folder"]) / "result.json").read_text()
    assert '"depth_inferences": 0' in result, "all of its disparity was in the cache"


def test_one_run_with_a_child_a_stage(first: Answer, place: Path):
    parent, all_runs = first.json["parent_run_id"], runs(place)
    assert all_runs[parent][:2] == ("stages_tiny", "FINISHED")
    children = {name: status for name, status, mother in all_runs.values() if mother == parent}
    assert children.keys() >= {"segment", "select"} and set(children.values()) == {"FINISHED"}
    ours = {row["run_id"] for row in first.json["stages"]}
    assert len(ours) == 4 and all(all_runs[run][1] == "FINISHED" and all_runs[run][2] for run in ours)
    table = (place / "out" / "stages.md").read_text()
    assert "train DepthSsda" in table and "miou" in table


def test_nothing_runs_twice_and_a_change_runs_what_builds_on_it(first: Answer, place: Path):
    again = stages(place)
    assert set(states(again).values()) == {"kept"} and again.json["parent_run_id"] == first.json["parent_run_id"]
    planned = stages(place, "segment.seed=1", "--dry-run")
    assert states(planned) == {"sde": "kept", "cache": "kept", "select": "kept", "segment": "missing"}
    gone = next(row for row in again.json["stages"] if row["stage"] == "select")
    (Path(gone["folder"]) / "selected.txt").unlink()
    assert states(stages(place, "--dry-run"))["select"] == "missing", "what it left is gone"
    repaired = stages(place)
    assert states(repaired) == {"sde": "kept", "cache": "kept", "select": "finished", "segment": "kept"}
    now = next(row for row in repaired.json["stages"] if row["stage"] == "select")
    assert now["run_id"] == gone["run_id"], "the same child"


def test_what_cannot_be_run_is_one_line(place: Path, tmp_path: Path):
    assert "which stages?" in depthbox("stages").fault
    assert "there is no such Python file" in depthbox("stages", tmp_path / "no.py").fault
    (tmp_path / "none.py").write_text("STAGES = 3")
    assert "write STAGES = Stages(stages={...})" in depthbox("stages", tmp_path / "none.py").fault
    assert "unknown setting 'depht.source'" in depthbox("stages", place / "stages_tiny.py", "depht.source=x").fault


def test_ctrl_c_ends_the_stage_and_its_parent_and_the_same_command_goes_on(place: Path):
    words = ("sde.schedule.steps=400", "sde.seed=5")
    before = {folder.name for folder in (place / "out").iterdir()}
    presser = threading.Thread(target=_interrupt_when_training, args=(place / "out", before))
    presser.start()
    answer = stages(place, *words)
    presser.join()
    assert answer.status == 130, answer.err
    killed = [name for name, status, _ in runs(place).values() if status == "KILLED"]
    assert sorted(killed) == ["sde", "stages_tiny"]
    assert states(stages(place, *words, "--dry-run"))["sde"] == "missing"
    (folder,) = [one for one in (place / "out").glob("sde-*") if one.name not in before]
    assert any((folder / "checkpoints").iterdir())


def _interrupt_when_training(out: Path, before: set[str]) -> None:
    """Once the new depth stage has written a checkpoint."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        if any(one.parent.name not in before for one in out.glob("sde-*/checkpoints")):
            break
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

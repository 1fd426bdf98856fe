"""A table as a user runs it: real training on six photos, real sqlite MLflow, every way out, and MLflow's page in a browser."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from browser import look
from PIL import Image
from tiny_coco import write_tiny_coco

from depthbox.cli import main
from depthbox.report.ablation import finished_cells
from depthbox.report.traces import read_trace

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = '''
"""Is colour needed? Expected: yes."""

from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation

BASE = vary(box_depth(), {
    "data.train.images": "photos", "data.train.annotations": "boxes.json",
    "data.val.images": "photos", "data.val.annotations": "instances.json",
    "depth.source": "none", "model.backbone": "test_efficientnet", "model.weights": "none",
    "model.channels": 32, "model.mask_width": 16, "data.views.short_side": 64, "data.views.max_side": 96,
    "data.processes": 0, "batch_size": 2, "schedule.steps": STEPS, "schedule.log_every": 1,
    "schedule.checkpoint_every": 2, "launcher": "local", "device": "cpu",
})
TABLE = Ablation(
    base=BASE,
    rows={
        "base": {},
        "broken": {"data.train.annotations": "later.json"},
        "no colour": {"method.weights.color_affinity": 0.0},
    },
    seeds=(0,),
)
'''


class Place:
    """A folder with data, a table, its results and its store."""

    def __init__(self, root: Path, *, steps: int) -> None:
        self.data = write_tiny_coco(root / "data")
        self.file, self.out = root / "experiments" / "table_small.py", root / "out"
        self.results = self.file.parent / "results"
        self.file.parent.mkdir()
        self.file.write_text(TEXT.replace("STEPS", str(steps)))
        self.words = ["ablate", str(self.file), f"data.root={self.data}", f"out={self.out}"]

    def mend(self) -> None:
        (self.data / "later.json").write_bytes((self.data / "boxes.json").read_bytes())

    def rows(self) -> list[str]:
        lines = (self.results / "table_small.jsonl").read_text().splitlines()
        return [json.loads(line)["row"] for line in lines]

    def store(self, query: str) -> list[tuple]:
        with sqlite3.connect(self.out / "mlflow.db") as connection:
            return connection.execute(query).fetchall()

    def runs(self) -> dict[str, str]:
        """Name -> status; a name that is there twice fails."""
        found = self.store("select name, status from runs")
        assert len(dict(found)) == len(found)
        return dict(found)

    def check_children_and_points(self) -> None:
        """Every run but the parent is its child, and no curve has a step twice."""
        ((parent,),) = self.store("select run_uuid from runs where name = 'table_small'")
        tags = "select count(distinct r.run_uuid) from runs r join tags t using (run_uuid) where name != 'table_small'"
        assert self.store(f"{tags} and t.key = 'mlflow.parentRunId' and t.value = '{parent}'") == [
            (len(self.runs()) - 1,)
        ]
        assert self.store("select run_uuid, key, step from metrics where key not like 'system/%' group by 1, 2, 3 having count(*) > 1") == []  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("small"), steps=3)


def test_a_failed_cell_stops_nothing_and_the_next_run_brings_only_what_is_missing(
    small: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*small.words, "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 and not small.out.exists()

    assert main([*small.words, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert small.rows() == ["base", "no colour"] and [row[1] for row in answer["rows"]] == [1, 0, 1]
    assert list(answer["failed"]) == ["broken, seed 0"] and "later.json" in answer["failed"]["broken, seed 0"]
    assert "later.json" in Path(answer["page"]).read_text()
    first = (small.results / "table_small.jsonl").read_text()
    assert small.runs() == {"table_small": "FAILED", "base (seed 0)": "FINISHED", "no colour (seed 0)": "FINISHED"}

    small.mend()
    assert main(small.words) == 0
    said = capsys.readouterr()
    assert "cell 1 of 1: broken, seed 0" in said.err and "cell 2" not in said.err
    assert (small.results / "table_small.jsonl").read_text().startswith(first)
    assert set(small.runs().values()) == {"FINISHED"} and len(small.runs()) == 4
    small.check_children_and_points()
    assert f"depthbox dashboard tracking.uri=sqlite:///{small.out}/mlflow.db" in said.out


def test_the_report_lies_beside_the_results_and_in_the_parent_run(small: Place) -> None:
    ((parent,),) = small.store("select run_uuid from runs where name = 'table_small'")
    artifacts = small.out / "mlartifacts" / parent / "artifacts"
    assert {path.name for path in artifacts.iterdir()} == {
        *(f"table_small.{ending}" for ending in ("md", "csv", "html")), "best.json", "figures",
    }  # fmt: skip
    for ending in ("md", "csv"):
        assert (artifacts / f"table_small.{ending}").read_text() == (
            small.results / f"table_small.{ending}"
        ).read_text()
    assert {path.name for path in (artifacts / "figures").iterdir()} >= {"curves-loss-total.png", "pictures.jpg"}
    best = json.loads((artifacts / "best.json").read_text())
    assert best["row"] in ("base", "broken", "no colour") and best["settings"]["schedule.steps"] == 3
    assert "Is colour needed?" in (small.results / "table_small.md").read_text()
    for digest, cell in finished_cells(small.results).items():
        trace = read_trace(digest, small.results / "cells")
        assert trace and trace.strip and trace.truth
        assert [step for step, _ in trace.curves["loss/total"]] == [1, 2, 3]
        assert cell.run_id in (small.results / "table_small.html").read_text()
    size = sum(path.stat().st_size for path in (small.results / "cells").glob("*.json"))
    assert size < 3 * 10_000


def test_traces_that_are_gone_are_made_again_where_the_cells_ran(small: Place) -> None:
    for path in (small.results / "cells").iterdir():
        path.unlink()
    assert main([*small.words, "cells=0"]) == 0
    assert all(read_trace(digest, small.results / "cells") for digest in finished_cells(small.results))


def test_two_processes_do_not_share_a_folder(small: Place, capsys: pytest.CaptureFixture[str]) -> None:
    import filelock

    with filelock.FileLock(small.out / ".ablate.lock"):
        assert main(small.words) == 1
    assert "another process is at work on this table" in capsys.readouterr().err


def test_a_part_that_does_not_exist_is_refused(small: Place) -> None:
    assert main([*small.words, "rows=nothing"]) == 2
    assert main([*small.words, "seeds=a"]) == main([*small.words, "seeds=7"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_and_a_kill_keep_what_is_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path, steps=12)
    place.mend()
    with _started(place, until="cell 2 of 3", runs=3) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    assert place.rows() == ["base"]
    assert place.runs() == {"table_small": "KILLED", "base (seed 0)": "FINISHED", "broken (seed 0)": "KILLED"}

    with _started(place, until="cell 1 of 2", runs=3) as process:
        process.kill()
        process.wait(60)
    assert place.rows() == ["base"]
    assert place.runs()["table_small"] == place.runs()["broken (seed 0)"] == "RUNNING"

    assert subprocess.run(_command(place), env=_environment(), capture_output=True).returncode == 0
    assert place.rows() == ["base", "broken", "no colour"]
    assert set(place.runs().values()) == {"FINISHED"} and len(place.runs()) == 4
    place.check_children_and_points()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_browser_shows_table_and_plots_on_mlflows_page_of_the_parent(small: Place, tmp_path: Path) -> None:
    small.mend()
    assert main(small.words) == 0
    ((parent, experiment),) = small.store("select run_uuid, experiment_id from runs where name = 'table_small'")
    command = [sys.executable, "-m", "depthbox", "dashboard", f"tracking.uri=sqlite:///{small.out}/mlflow.db"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())
    try:
        address = next(line for line in server.stdout if "is shown at" in line).split(" at ")[1].split()[0]
        # The same command with the server's address goes on in the same parent, and now there are pages to link to.
        assert main([*small.words, "cells=0", f"tracking.uri={address}"]) == 0
        assert set(small.runs().values()) == {"FINISHED"} and len(small.runs()) == 4
        for cell in finished_cells(small.results).values():
            assert f'href="{address}/#/runs/{cell.run_id}"' in (small.results / "table_small.html").read_text()
        page = f"{address}/#/experiments/{experiment}/runs/{parent}"
        unfold = (
            "(b => b && (b.click(), true))([...document.querySelectorAll('*')].find(b => b.innerText == 'Show more'))"
        )
        table = "[...document.querySelectorAll('table')].map(t => t.innerText).find(t => t.includes('no colour'))"
        plots = "(all => all.length > 1 && all.every(i => i.naturalWidth > 100) && all.length)([...document.images].filter(i => i.src.includes('get-artifact')))"
        _, words, count = look(page, unfold, table, plots, picture=tmp_path / "parent.png", size=(1600, 2400))
        assert "mask_ap" in str(words) and "base" in str(words) and count >= 2
        (there,) = look(
            f"{page}/artifacts/table_small.html", "!!document.querySelector('iframe')", picture=tmp_path / "a.png"
        )
        assert there
        assert np.asarray(Image.open(tmp_path / "parent.png").convert("L")).std() > 10
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


def _command(place: Place) -> list[str]:
    # Tests that run in a shell's background job would hand on an ignored Ctrl-C.
    code = (
        "import signal, sys, torch; signal.signal(signal.SIGINT, signal.default_int_handler); torch.set_num_threads(1); "
        f"from depthbox.cli import main; sys.exit(main({place.words!r}))"
    )
    return [sys.executable, "-c", code]


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


class _started:
    """The command in a process, waited for until a cell has begun and the store has so many runs; killed at the end."""

    def __init__(self, place: Place, *, until: str, runs: int) -> None:
        self.place, self.until, self.runs = place, until, runs

    def __enter__(self) -> subprocess.Popen:
        self.process = subprocess.Popen(_command(self.place), stderr=subprocess.PIPE, text=True, env=_environment())
        assert any(self.until in line for line in self.process.stderr), "the cell never began"
        end = time.monotonic() + 120
        while not self._training():
            assert self.process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        return self.process

    def _training(self) -> bool:
        runs = self.place.store("select status from runs")
        return len(runs) == self.runs and runs.count(("RUNNING",)) == 2

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()

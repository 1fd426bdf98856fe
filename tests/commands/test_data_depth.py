"""`depthbox data` and `depthbox depth` on a small data set."""

from pathlib import Path

import pytest
from command_line import depthbox
from PIL import Image
from small_runs import make_data, paths

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


def test_data_validate_and_summary(data: Path) -> None:
    fine = depthbox("data", "validate", *paths(data), "--json")
    assert (fine.status, fine.json) == (0, {"ok": True, "images": {"train": 6, "val": 3}, "findings": []})
    shown = depthbox("data", "summary", *paths(data))
    assert shown.status == 0 and "objects  12" in shown.out and "masks    no" in shown.out


def test_depth_run_is_read_back_by_depth_evaluate(data: Path, tmp_path: Path) -> None:
    root, out = f"data.root={data}", tmp_path / "maps"
    ran = depthbox("depth", "run", root, "images=train/photos", f"out={out}", "depth.source=maps:train/depth", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["images"] == 6 and len(list(out.glob("*.png"))) == 6 and len(list((out / "preview").iterdir())) == 6
    words = [root, "images=train/photos/00[12].png", "depths=train/depth", "depth.source=maps:train/depth"]
    answer = depthbox("depth", "evaluate", *words, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["images"] == 2
    assert answer.json["estimator"]["spearman"] == pytest.approx(1) and answer.json["lower_is_nearer"]["spearman"] < 0.9
    assert "lower is nearer" in answer.err


def test_depth_says_what_is_missing(data: Path, tmp_path: Path) -> None:
    root = f"data.root={data}"
    answer = depthbox("depth", "run", root, "images=nowhere", f"out={tmp_path}", "depth.source=maps:train/depth")
    assert answer.status == 1 and f"{data / 'nowhere'}: there is no such folder" in answer.fault
    answer = depthbox("depth", "run", root, "images=train/photos", f"out={tmp_path}", "depth.source=none")
    assert answer.status == 2
    Image.new("L", (8, 8)).save(tmp_path / "other.png")
    words = [root, "images=train/photos", f"depths={tmp_path}", "depth.source=maps:train/depth"]
    answer = depthbox("depth", "evaluate", *words)
    assert answer.status == 1 and "no photo has a map of its stem" in answer.fault


def test_depth_train_writes_a_network(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    answer = depthbox("depth", "train", f"out={out}", "scenes=1", "steps=1", "--json")
    assert answer.status == 0, answer.err
    assert answer.json == {"out": str(out), "scenes": 1, "steps": 1, "seed": 0}
    assert 0 < out.stat().st_size < 4e6

"""`depthbox data validate | summary | split` of photos with a class for every pixel."""

from pathlib import Path

import numpy as np
import pytest
from command_line import Answer, depthbox
from PIL import Image
from tiny_dense import write_tiny_dense


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_dense(tmp_path)


def about(action: str, data: Path, *words: object) -> Answer:
    places = [
        f"data.{name}.{kind}={name}/{'photos' if kind == 'images' else kind}"
        for name in ("train", "val")
        for kind in ("images", "labels")
    ]
    return depthbox("data", action, f"data.root={data}", "data.table=train/table.json", *places, *words, "--json")


def test_sound_data_has_no_finding(data: Path):
    answer = about("validate", data, "data.train.labelled=labelled.txt")
    assert answer.status == 0, answer.out
    assert answer.json == {"images": {"train": 6, "val": 3}, "ok": True, "findings": []}


def test_every_fault_is_a_line(data: Path):
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(data / "train/labels/p_01.png")
    Image.fromarray(np.full((24, 64), 10, np.uint8)).save(data / "train/labels/p_02.png")
    (data / "train/photos/p_03.png").write_bytes(b"")
    (data / "val/photos/p_00.png").write_bytes((data / "train/photos/p_00.png").read_bytes())
    (data / "nobody.txt").write_text("nobody\n")
    answer = about("validate", data, "data.train.labelled=nobody.txt")
    assert answer.status == 1
    found = "\n".join(answer.json["findings"])
    for said in (
        "p_01.png: id 77 not in the table", "the label map is 64x24, its photo 64x48", "p_03.png: the file is empty", "1 photos of", "nobody.txt: 1 of 1 images are not in",
    ):  # fmt: skip
        assert said in found
    assert len(answer.json["findings"]) == 5


def test_a_source_of_other_classes_is_a_finding(data: Path):
    (data / "other.json").write_text('{"ids": {"0": null, "10": "red", "20": "green", "30": "cat"}}')
    words = ("data.source.images=other/photos", "data.source.labels=other/labels", "data.source.table=other.json")
    answer = about("validate", data, *words)
    assert answer.status == 1 and "blue only in table.json; cat only in other.json" in answer.json["findings"][0]
    assert about("validate", data, *words, "data.classes=shared").status == 0


def test_shares_of_classes(data: Path):
    answer = about("summary", data)
    assert answer.status == 0 and sum(answer.json["train"].values()) == pytest.approx(1)
    assert answer.json["train"].keys() == {"red", "green", "blue"}


def test_a_split_is_drawn_by_name_and_can_be_learnt_from(data: Path):
    out = data / "half.txt"
    answer = about("split", data, "percent=50", "seed=1", f"out={out}")
    assert answer.status == 0 and answer.json["labelled"] == 3, answer.err
    names = out.read_text().split()
    assert len(names) == 3 and all(name.startswith("p_0") for name in names)
    assert about("validate", data, f"data.train.labelled={out}").status == 0
    assert about("split", data, "percent=50", "seed=2", f"out={out}").status == 1, "another split is there"
    assert about("split", data, "seed=2").status == 2

"""Bad input of every kind, each one line that names file and record."""

import json
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from command_line import depthbox
from PIL import Image
from small_runs import SMALL, make_data, paths
from tiny_coco import write_json

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tiny"))


def changed(said: dict, key: str, index: int, **values: object) -> dict:
    """A COCO file with one record changed."""
    records = [dict(record) for record in said[key]]
    records[index] |= values
    return {**said, key: records}


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("B2", lambda said: changed(said, "annotations", 4, id=1), "annotation 1: this id occurs twice"),
        ("B3", lambda said: changed(said, "annotations", 4, image_id=99), "annotation 5: there is no image 99"),
        ("B4", lambda said: changed(said, "annotations", 2, bbox=[5, 5, -4, 9]), "annotation 3 (image 2): bbox"),
        (
            "B4 NaN",
            lambda said: changed(said, "annotations", 2, bbox=[5, 5, float("nan"), 9]),
            "annotation 3 (image 2)",
        ),
        ("B11", lambda said: changed(said, "images", 1, file_name="../../etc/passwd"), "image 2: file_name"),
        ("no photo", lambda said: changed(said, "images", 1, file_name="9.png"), "image 2: there is no photo '9.png'"),
    ],
)
def test_a_bad_record_is_named_with_its_file(name: str, change, named: str, data: Path, tmp_path: Path) -> None:
    source = write_json(tmp_path / "bad.json", change(json.loads((data / "train/boxes.json").read_text())))
    words = [*paths(data, train_annotations=str(source)), *SMALL, f"out={tmp_path / 'o'}", "depth.source=none"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1, name
    assert answer.fault.startswith(f"depthbox: {source}: {named}"), answer.fault
    found = depthbox("data", "validate", *paths(data, train_annotations=str(source)))
    assert found.status == 1 and f"{source}: {named}" in found.out


def test_b1_json_that_is_cut_off(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "cut.json"
    source.write_text((data / "train/boxes.json").read_text()[:500])
    answer = depthbox("train", "box_depth", *paths(data, train_annotations=str(source)), *SMALL, f"out={tmp_path}/o")
    assert answer.status == 1
    assert answer.fault.startswith(f"depthbox: {source}: line 1, column ")


def test_b9_class_ids_may_be_sparse_and_0(data: Path, tmp_path: Path) -> None:
    said = json.loads((data / "train/boxes.json").read_text())
    swap = {3: 0, 7: 900}
    for key, field in (("categories", "id"), ("annotations", "category_id")):
        said[key] = [one | {field: swap[one[field]]} for one in said[key]]
    source = write_json(tmp_path / "sparse.json", said)
    answer = depthbox("data", "summary", *paths(data, train_annotations=str(source)), "--json")
    assert answer.status == 0
    assert answer.json["train"]["classes"] == {"plate": 6, "ball": 6}


def test_b12_b13_photos_in_both_sets_and_other_classes(data: Path, tmp_path: Path) -> None:
    both = depthbox("data", "validate", *paths(data), "data.val.images=train/photos")
    assert both.status == 2  # given twice
    words = [word for word in paths(data) if not word.startswith("data.val")]
    words += ["data.val.images=train/photos", "data.val.annotations=train/instances.json"]
    answer = depthbox("data", "validate", *words)
    assert answer.status == 1
    assert "6 photos of" in answer.out and "001.png" in answer.out
    said = json.loads((data / "val/instances.json").read_text())
    said["categories"][0]["name"] = "saucer"
    other = write_json(tmp_path / "other.json", said)
    words = [*paths(data, val_annotations=str(other)), *SMALL, "depth.source=none", f"out={tmp_path / 'o'}"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1 and answer.fault.startswith(f"depthbox: {other}: categories: ")


def write_maps(folder: Path, values: np.ndarray) -> Path:
    folder.mkdir()
    for number in range(1, 7):
        Image.fromarray(values).save(folder / f"{number:03d}.png")
    return folder


def near_below(size_hw: tuple[int, int], *, nearest: int, farthest: int) -> np.ndarray:
    return np.repeat(np.linspace(farthest, nearest, size_hw[0])[:, None], size_hw[1], 1).astype(np.uint16)


def test_b15_maps_of_another_size_unit_or_sign_and_a_missing_one(data: Path, tmp_path: Path) -> None:
    wide = write_maps(tmp_path / "wide", near_below((64, 64), nearest=3000, farthest=9000))
    metres = write_maps(tmp_path / "metres", near_below((64, 96), nearest=3, farthest=9))
    inverted = write_maps(tmp_path / "inverted", near_below((64, 96), nearest=9000, farthest=3000))
    missing = write_maps(tmp_path / "missing", near_below((64, 96), nearest=3000, farthest=9000))
    (missing / "005.png").unlink()
    photo = data / "train/photos/005.png"
    for folder, said in {
        wide: "001.png: the map is 64x64, its photo 64x96",
        metres: "001.png: depth.maps.kind=depth_mm: its farthest value would be 9 mm",
        inverted: ": the maps look inverted",
        missing: f": the photo {photo} has no map",
    }.items():
        checked = depthbox("data", "validate", *paths(data), f"depth.source=maps:{folder}")
        assert checked.status == 1 and f"{folder}" in checked.out and said in checked.out, checked.out
        if folder is not wide:  # tried below
            words = [*paths(data), *SMALL, f"depth.source=maps:{folder}", f"out={tmp_path / 'o'}"]
            answer = depthbox("train", "box_depth", *words)
            assert answer.status == 1
            assert f"{folder}" in answer.fault and said in answer.fault, answer.fault
    assert depthbox("data", "validate", *paths(data), "depth.source=maps:train/depth").status == 0


def test_b15_a_map_of_another_size_ends_the_run_by_its_name(data: Path, tmp_path: Path) -> None:
    wide = write_maps(tmp_path / "wide", near_below((64, 64), nearest=3000, farthest=9000))
    words = [*paths(data), *SMALL, f"depth.source=maps:{wide}", f"out={tmp_path / 'o'}"]
    answer = depthbox("train", "box_depth", *words)
    assert answer.status == 1
    last = answer.err.strip().splitlines()[-1]
    assert last.startswith(f"depthbox: {wide}") and "the map is 64x64" in last
    with sqlite3.connect(tmp_path / "o" / "mlflow.db") as connection:
        assert connection.execute("select status from runs").fetchall() == [("FAILED",)]


class Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.witness,))


def test_b17_weights_that_could_run_code_are_refused_and_not_run(data: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    small = [word for word in SMALL if not word.startswith("model.weights")]
    for name, setting in [
        ("w.pt", "model.weights"),
        ("w.safetensors", "model.weights"),
        ("m.pth", "model.init"),
        ("m.safetensors", "model.init"),
    ]:
        file = tmp_path / name
        file.write_bytes(pickle.dumps(Payload(witness)))
        words = [*paths(data), *small, "depth.source=none", f"out={tmp_path / 'o'}", f"{setting}={file}"]
        words += [] if setting == "model.weights" else ["model.weights=none"]
        answer = depthbox("train", "box_depth", *words)
        assert answer.status == 1
        assert answer.fault.startswith(f"depthbox: {file}: "), answer.fault
    assert not witness.exists()
    assert not (tmp_path / "o").exists()

"""`depthbox predict` with a class for every pixel: label maps that read as the training data do, with the scores of the evaluation."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import depthbox
from PIL import Image
from tiny_semantic import CLASSES, IDS

from depthbox.data.label_map import read_labels
from depthbox.data.label_table import read_table
from depthbox.data.semantic import check_labels, read_semantic
from depthbox.evaluate.semantic import confusion, semantic_scores
from depthbox.inference.served import servable
from depthbox.tracking.models import register_model

PLAIN = ("device=cpu", "precision=float32", "--json")


def maps(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "label_maps").iterdir())}


@pytest.fixture(scope="module")
def whole(pixels: Path, streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    answer = depthbox("predict", pixels, streets / "val/photos", "--out", out, *PLAIN)
    assert answer.status == 0, answer.err
    assert (answer.json["photos"], answer.json["label_maps"], answer.json["rows_quarantined"]) == (3, 3, 0)
    assert "3 label maps (" in answer.err
    return out


def test_the_label_maps_have_the_scores_of_the_evaluation_and_the_ids_of_the_training_data(
    whole: Path, pixels: Path, streets: Path
) -> None:
    table = read_table("train/table.json", streets)
    matrix = np.zeros((3, 3), np.int64)
    for photo in sorted((streets / "val/photos").iterdir()):
        found = whole / "label_maps" / photo.name
        with Image.open(found) as picture:
            assert picture.mode == "P" and picture.size == (64, 48) and set(np.unique(picture)) <= set(IDS)
        truth = read_labels(streets / "val/labels" / photo.name, table)
        matrix += confusion(read_labels(found, table), truth, 3)
    scores = json.loads((pixels / "result.json").read_text())["scores"]
    assert semantic_scores(matrix, CLASSES)["miou"] == pytest.approx(scores["miou"]) and scores["iou/red"] > 0.5


def test_a_run_can_learn_from_them(whole: Path, streets: Path) -> None:
    table, labels = read_table("train/table.json", streets), str(whole / "label_maps")
    found = check_labels(read_semantic(streets, images="val/photos", labels=labels, table=table, needs_all=True))
    assert [Path(one.label_path).name for one in found.records] == ["p_00.png", "p_01.png", "p_02.png"]


def test_the_json_says_ids_colours_files_and_shares(whole: Path) -> None:
    said = json.loads((whole / "label_maps.json").read_text())
    assert [(one["id"], one["name"]) for one in said["classes"]] == list(zip(IDS, CLASSES, strict=True))
    for photo in said["photos"]:
        with Image.open(whole / photo["label_map"]) as picture:
            ids, palette = np.array(picture), picture.getpalette()
            assert picture.size == (photo["width"], photo["height"])
        for one in said["classes"]:
            assert photo["shares"][one["name"]] == pytest.approx((ids == one["id"]).mean())
            assert palette[3 * one["id"] : 3 * one["id"] + 3] == one["colour"]
        with Image.open(whole / photo["overlay"]) as picture:
            assert picture.size == (64, 48)
    assert sum(one["share"] for one in said["classes"]) == pytest.approx(1)


def test_every_place_of_the_model_gives_the_same(
    whole: Path, pixels: Path, streets: Path, store: str, tmp_path: Path
) -> None:
    run_id = json.loads((pixels / "run.json").read_text())["run_id"]
    register_model("streets", servable(pixels / "model.safetensors"), uri=store, run_id=run_id)
    assert depthbox("export", pixels, "--format", "safetensors", "--out", tmp_path / "again.safetensors").status == 0
    for place in (run_id, "models:/streets@champion", pixels / "model.safetensors", tmp_path / "again.safetensors"):
        out = tmp_path / str(place).replace("/", "_")
        words = ["--out", out, *PLAIN, "overlays=no", f"tracking.uri={store}"]
        answer = depthbox("predict", place, streets / "val/photos", *words)
        assert answer.status == 0, answer.err
        assert maps(out) == maps(whole) and not (out / "overlays").exists()


def test_a_checkpoint_of_a_killed_run_numbers_its_classes_from_0(pixels: Path, streets: Path, tmp_path: Path) -> None:
    killed = shutil.copytree(pixels, tmp_path / "killed")
    (killed / "model.safetensors").unlink()
    answer = depthbox("predict", killed, streets / "val/photos", "--out", tmp_path / "out", *PLAIN)
    assert answer.status == 0, answer.err
    assert [one["id"] for one in json.loads((tmp_path / "out/label_maps.json").read_text())["classes"]] == [0, 1, 2]


def test_a_kill_costs_only_what_was_under_way_and_a_bad_photo_is_set_aside(
    whole: Path, pixels: Path, streets: Path, tmp_path: Path
) -> None:
    photos, out = shutil.copytree(streets / "val/photos", tmp_path / "photos"), tmp_path / "out"
    (photos / "p_02.png").write_bytes(b"")
    answer = depthbox("predict", pixels, photos, "--out", out, *PLAIN)
    assert answer.status == 0 and answer.json["rows_quarantined"] == 1, answer.err
    assert [one["file_name"] for one in json.loads((out / "label_maps.json").read_text())["photos"]] == ["p_00.png", "p_01.png"]  # fmt: skip
    lines = (out / "photos.jsonl").read_text().splitlines(keepends=True)
    (out / "photos.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    for name in ("label_maps/p_01.png", "label_maps.json"):
        (out / name).unlink()
    shutil.copy(streets / "val/photos/p_02.png", photos)
    again = depthbox("predict", pixels, photos, "--out", out, *PLAIN)
    assert (again.json["photos_done_before"], again.json["rows_quarantined"]) == (1, 0)
    assert maps(out) == maps(whole)
    said = (whole / "label_maps.json").read_text()
    assert (out / "label_maps.json").read_text() == said
    other = depthbox("predict", pixels, photos, "--out", out, "device=cpu", "precision=float32", "window=32")
    assert other.status == 2 and "holds the work of another job: window (0 there, 32 here)" in other.fault


def test_a_window_sees_other_things_and_its_scores_are_those_of_evaluate(
    whole: Path, pixels: Path, streets: Path, tmp_path: Path
) -> None:
    answer = depthbox("predict", pixels, streets / "val/photos", "--out", tmp_path, *PLAIN, "window=32")
    assert answer.status == 0, answer.err
    assert maps(tmp_path) != maps(whole)
    table, matrix = read_table("train/table.json", streets), np.zeros((3, 3), np.int64)
    for path in sorted((tmp_path / "label_maps").iterdir()):
        matrix += confusion(read_labels(path, table), read_labels(streets / "val/labels" / path.name, table), 3)
    evaluated = depthbox("evaluate", f"run={pixels}", "window=32", "device=cpu", "--json").json
    assert semantic_scores(matrix, CLASSES)["miou"] == pytest.approx(evaluated["miou"])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["score=0.5"], 2, "score= has no effect: {run} gives every pixel a class"),
        (["inference.top=5"], 2, "inference.top= has no effect"),
        (["window=33"], 2, "window=33: takes a multiple of 32"),
        (["views.max_side=64"], 2, "unknown setting 'views.max_side'"),
        (["{same}"], 1, "and p_00.png differ in their endings alone"),
    ],
)
def test_what_does_not_fit_is_one_line(
    words: list[str], status: int, said: str, pixels: Path, streets: Path, tmp_path: Path
) -> None:
    shutil.copy(streets / "val/photos/p_00.png", tmp_path)
    with Image.open(tmp_path / "p_00.png") as photo:
        photo.save(tmp_path / "p_00.jpg")
    places = {"run": pixels, "same": tmp_path / "p_00.jpg"}
    given = [word.format(**places) for word in words]
    answer = depthbox("predict", pixels, tmp_path / "p_00.png", *given, "--out", tmp_path / "out")
    assert (answer.status, said.format(**places) in answer.fault) == (status, True), answer.fault
    assert not (tmp_path / "out").exists()


def test_a_window_is_not_of_objects(trained: Path, data: Path, tmp_path: Path) -> None:
    answer = depthbox("predict", trained, data / "val", "--out", tmp_path / "out", "window=64")
    assert answer.status == 2 and "window= has no effect" in answer.fault


def test_boxes_need_a_model_of_objects(pixels: Path, data: Path, tmp_path: Path) -> None:
    words = ["--boxes", data / "boxes_val.json", "--images", data / "val", "--out", tmp_path / "masks.json"]
    answer = depthbox("label", pixels, *words)
    assert answer.status == 1 and "a mask for a box needs a model that finds objects" in answer.fault

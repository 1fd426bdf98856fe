"""`depthbox predict`: the numbers of evaluation, from wherever the model is kept, killed or not, whatever else is in the folder."""

import contextlib
import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import depthbox
from PIL import Image
from s3_server import CREDENTIALS, s3_server

from depthbox.data.config import ViewsConfig
from depthbox.data.decode import read_image
from depthbox.data.quarantine import DecodeGuard
from depthbox.data.schema import Detections
from depthbox.inference.opened import open_model
from depthbox.inference.predictor import predictor_of, without_overlaps
from depthbox.models.config import InferenceConfig

PLAIN = ("device=cpu", "precision=float32", "score=0.01", "--json")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def found(out: Path) -> list[dict]:
    return json.loads((out / "detections.json").read_text())


@pytest.fixture(scope="module")
def whole(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    answer = depthbox("predict", trained, data / "val", "--out", out, *PLAIN)
    assert answer.status == 0, answer.err
    assert (answer.json["photos"], answer.json["rows_quarantined"]) == (6, 0)
    assert answer.json["objects"] == len(found(out)) > 6
    return out


def test_the_detections_are_those_of_the_evaluation(whole: Path, trained: Path) -> None:
    known = [row for row in json.loads((trained / "detections.json").read_text()) if row["score"] > 0.01]
    rows = found(whole)
    assert len(rows) == len(known)
    for row, same in zip(*(sorted(some, key=_place) for some in (rows, known)), strict=True):
        assert (row["image_id"], row["category_id"]) == (same["image_id"], same["category_id"])
        assert row["score"] == pytest.approx(same["score"], abs=1e-5) and row["segmentation"]["size"] == [64, 96]
        np.testing.assert_allclose(row["bbox"], same["bbox"], atol=0.01)


def test_queries_are_predicted_as_they_were_evaluated_also_where_they_are_padded(
    queries: Path, data: Path, tmp_path: Path
) -> None:
    """A photo alone and among others of its size is the same; one whose sides are no multiples of 32 has padding that no query looks at."""
    answer = depthbox("predict", queries, data / "val", "--out", tmp_path / "whole", *PLAIN)
    assert answer.status == 0, answer.err
    known = [row for row in json.loads((queries / "detections.json").read_text()) if row["score"] > 0.01]
    rows = found(tmp_path / "whole")
    assert len(rows) == len(known) > 6
    for row, same in zip(*(sorted(some, key=_place) for some in (rows, known)), strict=True):
        assert (row["category_id"], row["bbox"]) == (same["category_id"], pytest.approx(same["bbox"], abs=1.0))
        assert row["score"] == pytest.approx(same["score"], abs=1e-4)
    with Image.open(data / "val" / "000.png") as photo:
        photo.crop((0, 0, 90, 64)).save(tmp_path / "cut.png")
    predictor = predictor_of(open_model(str(queries)), device="cpu", precision="float32")
    cut = read_image(tmp_path / "cut.png", short_side=64, max_side=96)
    (alone,), both = predictor.find([cut], [1]), predictor.find([cut, cut], [1, 2])
    assert alone.masks[0]["size"] == [64, 90] and [len(one.scores) for one in both] == [len(alone.scores)] * 2


def test_weights_that_are_not_the_models_are_one_line(queries: Path, data: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    state = load_file(queries / "model.safetensors")
    with safe_open(queries / "model.safetensors", framework="pt") as file:
        said = file.metadata()
    spoiled = {
        "decoder.classify.weight": "has no decoder.classify.weight: not its model",
        "decoder.classify.bias": "does not fit 2 classes and",
    }
    for name, words in spoiled.items():
        other = {key: tensor for key, tensor in state.items() if key != name}
        save_file(other, tmp_path / "model.safetensors", metadata=said)
        answer = depthbox("predict", tmp_path / "model.safetensors", data / "val", "--out", tmp_path / "no")
        assert answer.status == 1 and words in answer.fault, answer.fault


def _place(row: dict) -> tuple:
    return row["image_id"], row["category_id"], [round(value, 1) for value in row["bbox"]]


def test_pycocotools_reads_the_pair_and_every_photo_has_an_overlay(whole: Path) -> None:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(whole / "images.json")
        loaded = coco.loadRes(found(whole))
    assert len(loaded.anns) == len(found(whole)) and {c["name"] for c in coco.cats.values()} == {"ellipse", "box"}
    assert loaded.annToMask(loaded.anns[1]).shape == (64, 96)
    names = sorted(path.name for path in (whole / "overlays").iterdir())
    assert names == [f"{i:03d}.png.jpg" for i in range(6)]
    with Image.open(whole / "overlays" / names[0]) as picture:
        assert picture.size == (96, 64)


def test_a_run_id_and_a_copied_file_give_the_same(
    whole: Path, trained: Path, data: Path, store: str, tmp_path: Path
) -> None:
    run_id = json.loads((trained / "run.json").read_text())["run_id"]
    shutil.copy(trained / "model.safetensors", tmp_path / "model.safetensors")
    for place in (run_id, f"runs:/{run_id}", tmp_path, tmp_path / "model.safetensors"):
        out = tmp_path / str(place).replace("/", "_")
        answer = depthbox("predict", place, data / "val", f"out={out}", *PLAIN, "overlays=no", f"tracking.uri={store}")
        assert answer.status == 0, answer.err
        assert found(out) == found(whole) and not (out / "overlays").exists()


def test_a_run_that_was_killed_predicts_from_its_checkpoint(trained: Path, data: Path, tmp_path: Path) -> None:
    killed = shutil.copytree(trained, tmp_path / "killed")
    (killed / "model.safetensors").unlink()
    answer = depthbox("predict", killed, data / "val", "--out", tmp_path / "out", *PLAIN, "overlays=no")
    assert answer.status == 0, answer.err
    assert answer.json["objects"] > 6


def test_neighbours_and_batches_do_not_matter(trained: Path, data: Path) -> None:
    """Photos of several sizes in one call: each gets what it gets alone."""
    model = predictor_of(
        open_model(str(trained)), device="cpu", precision="float32", inference=InferenceConfig(score_threshold=0.01)
    )
    photos = [
        read_image(data / "val" / f"{i:03d}.png", short_side=side, max_side=96)
        for i, side in enumerate((64, 40, 64, 64))
    ]
    together = model.find(photos, [1, 2, 3, 4])
    for i, photo in enumerate(photos):
        (alone,) = model.find([photo], [i + 1])
        assert together[i].image_id == i + 1 and len(alone.scores) == len(together[i].scores) > 0
        np.testing.assert_allclose(alone.scores, together[i].scores, atol=1e-5)
        np.testing.assert_allclose(alone.boxes_xyxy, together[i].boxes_xyxy, atol=1e-2)


def test_a_kill_costs_only_what_was_under_way(whole: Path, trained: Path, data: Path, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "cut")
    lines = (out / "photos.jsonl").read_text().splitlines(keepends=True)
    (out / "photos.jsonl").write_text("".join(lines[:4]) + lines[4][:50])
    (out / "detections.json").unlink()
    answer = depthbox("predict", trained, data / "val", "--out", out, *PLAIN)
    assert answer.status == 0, answer.err
    assert answer.json["photos_done_before"] == 3 and found(out) == found(whole)
    other = depthbox("predict", trained, data / "val", "--out", out, *PLAIN, "score=0.5")
    assert other.status == 2  # given twice
    other = depthbox("predict", trained, data / "val", "--out", out, "device=cpu", "precision=float32", "score=0.5")
    assert (
        other.status == 2 and "holds the work of another job: inference.min_score (0.01 there, 0.5 here)" in other.fault
    )


def test_photos_that_cannot_be_read_are_set_aside_by_name(
    whole: Path, trained: Path, data: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(data / "val", tmp_path / "photos")
    (photos / "002.png").write_bytes((photos / "002.png").read_bytes()[:300])
    (photos / "004.png").write_bytes(b"")
    answer = depthbox("predict", trained, photos, "--out", tmp_path / "out", *PLAIN, "overlays=no")
    assert answer.status == 0, answer.err
    assert answer.json["rows_quarantined"] == 2
    assert f"quarantined: {photos / '004.png'}: the file is empty" in answer.err
    assert found(tmp_path / "out") == [row for row in found(whole) if row["image_id"] not in (3, 5)]
    assert [row["path"] for row in json.loads((tmp_path / "out/quarantined.json").read_text())] == [
        str(photos / "002.png"),
        str(photos / "004.png"),
    ]
    shutil.copy(data / "val/004.png", photos / "004.png")
    again = depthbox("predict", trained, photos, "--out", tmp_path / "out", *PLAIN, "overlays=no")
    assert (again.json["photos_done_before"], again.json["rows_quarantined"]) == (4, 1)
    answer = depthbox("predict", trained, photos / "002.png", "--out", tmp_path / "none", *PLAIN)
    assert answer.status == 1 and answer.fault.startswith(f"depthbox: {photos / '002.png'}: damaged or truncated")


def test_a_photo_that_killed_its_decoder_three_times_is_passed_over(trained: Path, data: Path, tmp_path: Path) -> None:
    for _ in range(3):
        child = os.fork()
        if not child:
            with DecodeGuard(tmp_path / "out" / "decoding").watching(data / "val" / "001.png"):
                os._exit(139)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 139
    answer = depthbox("predict", trained, data / "val", "--out", tmp_path / "out", *PLAIN, "overlays=no")
    assert answer.status == 0, answer.err
    assert answer.json["rows_quarantined"] == 1 and "001.png: killed its decoder 3 times" in answer.err


def test_a_bucket_of_photos(
    whole: Path, trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto", reason="the S3 server of the tests")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path) as server:
        uri = server.fill("photos", data / "val")
        answer = depthbox("predict", trained, uri, "--out", tmp_path / "out", *PLAIN, "overlays=no")
    assert answer.status == 0, answer.err
    assert found(tmp_path / "out") == found(whole)


def test_of_two_masks_of_a_class_that_overlap_the_better_one_stays() -> None:
    from pycocotools import mask as coder

    canvas = np.zeros((20, 20, 3), np.uint8)
    canvas[2:12, 2:12, 0] = canvas[2:12, 3:12, 1] = canvas[14:18, 14:18, 2] = 1
    rles = tuple({"size": [20, 20], "counts": r["counts"].decode()} for r in coder.encode(np.asfortranarray(canvas)))
    boxes, scores = np.zeros((3, 4), np.float32), np.array([0.5, 0.9, 0.1], np.float32)
    one = Detections(image_id=1, boxes_xyxy=boxes, scores=scores, labels=np.array([0, 0, 0]), masks=rles)
    assert without_overlaps(one, iou=0.5).scores.tolist() == pytest.approx([0.9, 0.1])
    assert len(without_overlaps(one, iou=0.95).scores) == 3
    other = Detections(image_id=1, boxes_xyxy=boxes, scores=scores, labels=np.array([0, 1, 0]), masks=rles)
    assert len(without_overlaps(other, iou=0.5).scores) == 3


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "which model and photos?"),
        (["{run}"], 2, "which model and photos?"),
        (["{run}", "{photos}"], 2, "--out DIR"),
        (["{run}", "{photos}", "--out", "{out}", "score=2"], 2, "score= takes 0 to 1"),
        (["{run}", "{photos}", "--out", "{out}", "scor=0.5"], 2, "did you mean score"),
        (["{nowhere}", "{photos}", "--out", "{out}"], 1, "there is no such folder"),
        (["{empty}", "{photos}", "--out", "{out}"], 1, "holds no experiment.json"),
        (["{bare}", "{photos}", "--out", "{out}"], 1, "no model and no checkpoint is in it yet"),
        (["{pickled}", "{photos}", "--out", "{out}"], 1, "weights are read from .safetensors only"),
        (["{foreign}", "{photos}", "--out", "{out}"], 1, "does not say which network"),
        (["{run}", "{nowhere}/*.jpg", "--out", "{out}"], 1, "no file matches"),
        (
            ["0123456789abcdef0123456789abcdef", "{photos}", "--out", "{out}", "tracking.uri={store}"],
            1,
            "no such model",
        ),
        (["models:/nobody@champion", "{photos}", "--out", "{out}", "tracking.uri={store}"], 1, "no such model"),
        (["models:/nobody", "{photos}", "--out", "{out}", "tracking.uri={store}"], 2, "models:/NAME@ALIAS"),
        (
            ["models:/nobody@champion", "{photos}", "--out", "{out}", "tracking.uri=sqlite:///{out}/no.db"],
            1,
            "no tracking store",
        ),
    ],
)
def test_bad_words_and_places_are_one_line(
    words: list[str], status: int, said: str, trained: Path, data: Path, store: str, tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    bare = tmp_path / "bare"
    for folder in (bare, tmp_path / "empty"):
        folder.mkdir()
    shutil.copy(trained / "experiment.json", bare)
    (tmp_path / "m.pt").write_bytes(pickle.dumps(print))
    save_file({"a": np.zeros(1)}, tmp_path / "f.safetensors")
    places = {"run": trained, "photos": data / "val", "out": tmp_path / "out", "nowhere": tmp_path / "nowhere", "empty": tmp_path / "empty",
              "bare": bare, "pickled": tmp_path / "m.pt", "foreign": tmp_path / "f.safetensors", "store": store}  # fmt: skip
    answer = depthbox("predict", *(word.format(**places) for word in words))
    assert (answer.status, said in answer.fault) == (status, True), answer.fault
    assert not (tmp_path / "out" / "photos.jsonl").exists()


def test_the_size_of_a_run_is_kept_unless_it_is_given(trained: Path) -> None:
    assert predictor_of(open_model(str(trained))).views.short_side == 64
    assert predictor_of(open_model(str(trained)), views=ViewsConfig(short_side=32)).views.short_side == 32

"""`depthbox label`: a mask for every box, that agrees with the box; COCO's conventions; nothing done twice, nothing lost."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import look
from command_line import depthbox
from pycocotools import mask as coder
from pycocotools.coco import COCO

from depthbox.data.decode import read_image
from depthbox.inference.config import Matching
from depthbox.inference.label import Boxes, masks_of_boxes, pixels_of
from depthbox.inference.opened import open_model
from depthbox.inference.predictor import predictor_of
from depthbox.inference.quality import quality_of, tight_agreement

PLAIN = ("device=cpu", "precision=float32", "--json")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def loaded(file: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(file)


def iou_of(mask: np.ndarray, box_xywh: list[float]) -> float:
    x, y, w, h = coder.toBbox(coder.encode(np.asfortranarray(mask)))
    return float(coder.iou([[x, y, w, h]], [box_xywh], [0])[0, 0])


def made_by(model: Path, data: Path, out: Path) -> Path:
    words = ("--boxes", data / "boxes_train.json", "--images", data / "train", "--out", out)
    answer = depthbox("label", model, *words, *PLAIN, "depth.source=builtin", "review.below=2")
    assert answer.status == 0, answer.err
    assert (answer.json["masks"], answer.json["doubtful"], answer.json["rows_quarantined"]) == (6, 6, 0)
    return out


@pytest.fixture(scope="module")
def labelled(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(trained, data, tmp_path_factory.mktemp("labelled") / "masks.json")


@pytest.fixture(scope="module")
def labelled_by_queries(queries: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(queries, data, tmp_path_factory.mktemp("labelled") / "queries.json")


@pytest.fixture(params=["labelled", "labelled_by_queries"])
def by_either_head(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_every_box_has_a_mask_inside_it_that_reaches_its_sides(by_either_head: Path, data: Path) -> None:
    coco, boxes = loaded(by_either_head), json.loads((data / "boxes_train.json").read_text())["annotations"]
    for one in boxes:
        made = coco.anns[one["id"]]
        assert {name: made[name] for name in one if name != "area"} == {
            name: v for name, v in one.items() if name != "area"
        }
        mask = coco.annToMask(made)
        assert made["area"] == mask.sum() > 0
        x, y, w, h = one["bbox"]
        assert mask[y : y + h, x : x + w].sum() == mask.sum(), "a pixel outside the box"
        figures = made["attributes"]
        assert figures["box_agreement"] == pytest.approx(iou_of(mask, one["bbox"]), abs=1e-3)
        assert figures.keys() == {"quality", "mask_quality", "box_agreement", "depth_consistency"}
        assert all(0 <= value <= 1 for value in figures.values())


def test_the_masks_are_nearer_to_the_truth_than_the_boxes(by_either_head: Path, data: Path) -> None:
    coco, truth = loaded(by_either_head), loaded(data / "masks_train.json")
    ellipses = [i for i, one in truth.anns.items() if one["category_id"] == 3]
    ious = {i: coder.iou([coco.annToRLE(coco.anns[i])], [truth.annToRLE(truth.anns[i])], [0])[0, 0] for i in truth.anns}
    assert np.mean([ious[i] for i in ellipses]) > 0.8 and np.mean(list(ious.values())) > 0.75, ious


def test_the_file_keeps_what_it_had_and_crowds_keep_their_region(trained: Path, data: Path, tmp_path: Path) -> None:
    said = json.loads((data / "boxes_train.json").read_text())
    said |= {"info": {"year": 2026}, "licenses": [{"id": 1, "name": "x"}]}
    said["images"][0]["license"] = 1
    said["annotations"][0] |= {"attributes": {"occluded": True}, "track_id": 9}
    said["annotations"][1] |= {"iscrowd": 1}
    said["annotations"][2] |= {"iscrowd": 1, "segmentation": {"size": [64, 96], "counts": [640, 64, 64 * 85]}}
    said["annotations"] = [
        *reversed(said["annotations"]),
        {"id": 77, "image_id": 1, "category_id": 7, "bbox": [3, 3, 20, 20]},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(said))
    answer = depthbox(
        "label",
        trained,
        f"boxes={tmp_path / 'boxes.json'}",
        f"images={data / 'train'}",
        f"out={tmp_path / 'm.json'}",
        *PLAIN,
    )
    assert answer.status == 0, answer.err
    assert answer.json["masks"] == 5
    made = json.loads((tmp_path / "m.json").read_text())
    assert {key: made[key] for key in ("info", "licenses", "images", "categories")} == {
        key: said[key] for key in ("info", "licenses", "images", "categories")
    }
    assert [one["id"] for one in made["annotations"]] == [6, 5, 4, 3, 2, 1, 77]
    one = {a["id"]: a for a in made["annotations"]}
    assert (
        one[1]["attributes"]["occluded"] is True
        and one[1]["track_id"] == 9
        and "depth_consistency" not in one[1]["attributes"]
    )
    assert one[77]["iscrowd"] == 0 and one[2]["iscrowd"] == one[3]["iscrowd"] == 1
    assert one[3]["area"] == 64 and coder.area(one[2]["segmentation"]) == pytest.approx(
        np.prod(one[2]["bbox"][2:]), rel=0.02
    )


def test_classes_go_by_name_and_an_unknown_one_by_its_boxes(
    trained: Path, data: Path, tmp_path: Path, labelled: Path
) -> None:
    """The ids of the boxes' file need not be the model's."""
    said = json.loads((data / "boxes_train.json").read_text())
    said["categories"] = [{"id": 50, "name": "box"}, {"id": 60, "name": "ellipse"}, {"id": 70, "name": "cup"}]
    swap = {3: 60, 7: 50}
    for one in said["annotations"]:
        one["category_id"] = swap[one["category_id"]]
    (tmp_path / "boxes.json").write_text(json.dumps(said))
    words = [f"boxes={tmp_path / 'boxes.json'}", f"images={data / 'train'}", *PLAIN, "depth.source=builtin"]
    answer = depthbox("label", trained, *words, f"out={tmp_path / 'm.json'}")
    assert answer.status == 0 and "the model knows no class cup" in answer.err
    masks = [
        {a["id"]: a["segmentation"] for a in json.loads(f.read_text())["annotations"]}
        for f in (labelled, tmp_path / "m.json")
    ]
    assert masks[0] == masks[1]


def test_a_kill_costs_only_the_photos_under_way(trained: Path, data: Path, labelled: Path, tmp_path: Path) -> None:
    words = [
        "label",
        trained,
        f"boxes={data / 'boxes_train.json'}",
        f"images={data / 'train'}",
        *PLAIN,
        "depth.source=builtin",
    ]
    for name in ("masks.json", "masks.progress.jsonl"):
        shutil.copy(labelled.with_name(name), tmp_path / name)
    progress, out = tmp_path / "masks.progress.jsonl", tmp_path / "masks.json"
    lines = progress.read_text().splitlines(keepends=True)
    progress.write_text("".join(lines[:3]) + lines[3][:40])
    out.unlink()
    answer = depthbox(*words, f"out={out}")
    assert answer.status == 0, answer.err
    assert answer.json["photos_done_before"] == 2
    assert json.loads(out.read_text()) == json.loads(labelled.read_text())
    other = depthbox(*words, f"out={out}", "matching.box_cost=0.4")
    assert other.status == 2 and "another job: matching.box_cost (0.5 there, 0.4 here)" in other.fault


def test_a_photo_that_cannot_be_read_leaves_with_its_boxes_and_is_listed(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(data / "train", tmp_path / "photos")
    (photos / "001.png").write_bytes(b"not a picture")
    words = [
        "label",
        trained,
        f"boxes={data / 'boxes_train.json'}",
        f"images={photos}",
        f"out={tmp_path / 'm.json'}",
        *PLAIN,
    ]
    answer = depthbox(*words)
    assert answer.status == 0, answer.err
    (bad,) = json.loads((tmp_path / "m.quarantined.json").read_text())
    assert (bad["path"], bad["image_id"], bad["annotation_ids"]) == (str(photos / "001.png"), 2, [2])
    assert f"quarantined: {photos / '001.png'}: not an image" in answer.err
    coco = loaded(tmp_path / "m.json")
    assert set(coco.imgs) == {1, 3, 4, 5, 6} == set(coco.anns)
    assert "001.png" in (tmp_path / "m.review.html").read_text()
    shutil.copy(data / "train/001.png", photos / "001.png")
    again = depthbox(*words)
    assert (again.json["photos_done_before"], again.json["masks"]) == (5, 6)
    assert set(loaded(tmp_path / "m.json").anns) == {1, 2, 3, 4, 5, 6}


def test_the_review_page_is_whole_and_shows_the_poorest_first(labelled: Path, tmp_path: Path) -> None:
    page = labelled.with_name("masks.review.html")
    text = page.read_text()
    qualities = {one["id"]: one["attributes"]["quality"] for one in json.loads(labelled.read_text())["annotations"]}
    listed = [int(number) for number in re.findall(r'id="a(\d+)"', text)]
    assert listed == sorted(qualities, key=qualities.__getitem__)
    assert text.count("data:image/jpeg;base64,") == 12 and "http" not in text and "<script" not in text
    (widths,) = look(
        page.as_uri(),
        "[...document.images].every(i => i.complete && i.naturalWidth > 30) && document.images.length",
        picture=tmp_path / "p.png",
    )
    assert widths == 12


@pytest.mark.parametrize("head", ["trained", "queries"])
def test_boxes_that_overlap_get_masks_of_their_own(head: str, data: Path, request: pytest.FixtureRequest) -> None:
    """Two boxes on one place do not take one location, or one query; a box of a pixel, and one at the edge, get a mask too."""
    predictor = predictor_of(open_model(str(request.getfixturevalue(head))), device="cpu", precision="float32")
    photo = read_image(data / "train" / "001.png", short_side=64, max_side=96)
    boxes = np.array(
        [[10, 10, 40, 40], [10, 10, 40, 40], [50.2, 20.2, 50.6, 20.6], [90, 60, 96, 64], [0, 0, 96, 64]], np.float32
    )
    labels = np.array([0, 1, -1, 0, 1])
    made = masks_of_boxes(predictor, photo, Boxes(boxes_xyxy=boxes, labels=labels), Matching(depth_cost=0.0))
    assert len(made) == 5 and all(one.mask.any() for one in made)
    assert made[2].mask.shape == (1, 1) and made[2].window == (slice(20, 21), slice(50, 51))
    assert all(one.mask.shape == tuple(span.stop - span.start for span in one.window) for one in made)
    assert not masks_of_boxes(predictor, photo, Boxes(boxes_xyxy=boxes[:0], labels=labels[:0]), Matching())


def test_a_mask_lands_on_the_photo_whatever_size_the_network_sees(trained: Path, data: Path, tmp_path: Path) -> None:
    """The photo at three times its size, seen by the network at the same size: the same mask, three times as large."""
    from PIL import Image

    predictor = predictor_of(open_model(str(trained)), device="cpu", precision="float32")
    with Image.open(data / "train" / "001.png") as photo:
        photo.resize((288, 192), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    small = read_image(data / "train" / "001.png", short_side=64, max_side=96)
    large = read_image(tmp_path / "large.png", short_side=64, max_side=96)
    box = np.array([json.loads((data / "boxes_train.json").read_text())["annotations"][1]["bbox"]], np.float32)
    box[:, 2:] += box[:, :2]
    matching = Matching(depth_cost=0.0)
    (one,) = masks_of_boxes(predictor, small, Boxes(boxes_xyxy=box, labels=np.array([0])), matching)
    (two,) = masks_of_boxes(predictor, large, Boxes(boxes_xyxy=box * 3, labels=np.array([0])), matching)
    enlarged = one.mask.repeat(3, 0).repeat(3, 1)
    assert two.mask.shape == enlarged.shape
    assert (two.mask & enlarged).sum() / (two.mask | enlarged).sum() > 0.93


def test_the_pixels_of_a_box() -> None:
    assert pixels_of(np.array([1.0, 2.0, 4.0, 6.0]), (10, 10)) == (slice(2, 6), slice(1, 4))
    assert pixels_of(np.array([1.6, 2.4, 4.6, 6.4]), (10, 10)) == (slice(2, 6), slice(2, 5))
    assert pixels_of(np.array([9.7, 9.7, 10.0, 10.0]), (10, 10)) == (slice(9, 10), slice(9, 10))


def test_quality_falls_with_doubt_with_a_soft_edge_and_with_a_box_that_is_not_reached() -> None:
    sharp = np.zeros((20, 20))
    sharp[4:16, 4:16] = 0.95
    soft, doubtful = sharp * 0.7, sharp.copy()
    doubtful[0:20, 16:20] = 0.45
    window, box = (slice(10, 30), slice(10, 30)), np.array([14.0, 14.0, 26.0, 26.0])
    assert tight_agreement(sharp > 0.5, window, box) == 1.0
    assert tight_agreement(sharp > 0.5, window, np.array([14.0, 14.0, 38.0, 26.0])) == pytest.approx(0.5)
    assert tight_agreement(sharp > 2, window, box) == 0.0
    best = quality_of(sharp, sharp > 0.5, 1.0, 1.0).quality
    assert best == pytest.approx(0.95**0.5)
    assert quality_of(soft, soft > 0.5, 1.0, 1.0).quality < best
    assert quality_of(doubtful, doubtful > 0.5, 1.0, 1.0).quality < best
    assert quality_of(sharp, sharp > 0.5, 0.5, 1.0).quality < best
    assert quality_of(sharp, sharp > 0.5, 1.0, 0.5).depth == 0.5

"""What is wrong with a data set is said in words; a sound one has no findings."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.data.coco import read_coco
from depthbox.data.validate import refuse_leak, summary, validate_data

CLASSES = ({"id": 1, "name": "person"}, {"id": 4, "name": "dog"})
MASK = [[2, 2, 12, 2, 12, 12, 2, 12]]


def photo(path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)).save(path)


@pytest.fixture
def split(tmp_path):
    def _split(name: str, seeds, *, classes=CLASSES, files=None, change=lambda said: None):
        folder = tmp_path / name
        folder.mkdir()
        files = files or [f"{seed}.png" for seed in seeds]
        for file, seed in zip(files, seeds, strict=True):
            photo(folder / file, seed)
        images = [{"id": n, "file_name": file, "width": 30, "height": 20} for n, file in enumerate(files)]
        objects = [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 2, 10, 10], "segmentation": MASK}
            for n in range(len(files))
        ]
        said = {"images": images, "annotations": objects, "categories": [dict(one) for one in classes]}
        change(said)
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
        return read_coco(tmp_path / f"{name}.json", images=folder, masks=True)

    return _split


def test_a_sound_data_set_has_no_findings(split):
    assert validate_data(split("train", [1, 2]), split("val", [3, 4])) == []
    assert validate_data(split("alone", [1]), None) == []


def test_b12_equal_bytes_under_another_name(split, tmp_path):
    train = split("train", [1, 2, 3], files=["a.png", "b.png", "c.png"])
    val = split("val", [9, 2], files=["a.png", "other.png"])
    (finding,) = validate_data(train, val)
    assert "1 photos of" in finding and "val.json" in finding and "train.json" in finding
    assert str(tmp_path / "val" / "other.png") in finding and str(tmp_path / "train" / "b.png") in finding


def test_b12_the_same_path(split):
    train = split("train", [1, 2])
    (finding,) = validate_data(train, train, decode=False)
    assert "2 photos" in finding and "1.png" in finding


def test_b12_a_run_is_refused(split, tmp_path):
    train, val = split("train", [1, 2, 3], files=["a.png", "b.png", "c.png"]), split("val", [9, 2, 3])
    assert validate_data(train, val, leaks=False) == []
    with pytest.raises(
        InputError,
        match=r"val\.json: 2 of its photos are also trained on: .*2\.png = .*b\.png, .*3\.png = .*c\.png \| next: remove",
    ):
        refuse_leak(train, val)
    with pytest.raises(InputError, match=r"3 of its photos are also trained on"):
        refuse_leak(train, train)
    refuse_leak(train, split("other", [7, 8]))


def test_b13_class_maps(split):
    train = split("train", [1])
    (finding,) = validate_data(
        train, split("val", [2], classes=({"id": 1, "name": "person"}, {"id": 4, "name": "cat"}))
    )
    assert "only in train: dog" in finding and "only in val: cat" in finding
    (finding,) = validate_data(
        train, split("moved", [3], classes=({"id": 4, "name": "person"}, {"id": 1, "name": "dog"}))
    )
    assert "under another id: person, dog" in finding


def test_a_set_is_checked_by_itself(split):
    def twins(said):
        said["categories"][1]["name"] = "person"
        said["images"][1]["file_name"] = said["images"][0]["file_name"]
        del said["annotations"][1]["segmentation"]

    names, twice, masks = validate_data(split("train", [1, 2], change=twins), None)
    assert "same name: person" in names and "images 0, 1 are the same photo" in twice
    assert "1 annotations have no mask while others have one: 1" in masks
    (empty,) = validate_data(split("empty", [1], change=lambda said: said["annotations"].clear()), None)
    assert "no image has an object" in empty


@pytest.mark.parametrize("word", ["masks", "boxes", "none"])
def test_an_image_of_a_mixed_run_lacks_only_what_it_is_said_to_have(split, word):
    data = split("train", [1, 2], change=lambda said: said["annotations"][1].pop("segmentation"))
    worded = tuple(
        replace(record, supervision=said) for record, said in zip(data.records, ("masks", word), strict=True)
    )
    findings = validate_data(replace(data, records=worded), None)
    assert bool(findings) == (word == "masks")
    boxed = tuple(replace(record, supervision="boxes") for record in data.records)
    assert not validate_data(replace(data, records=boxed), None)


def test_photos_that_cannot_be_used_are_listed(split, tmp_path):
    train = split("train", [1, 2, 3])
    (tmp_path / "train" / "1.png").write_bytes(b"")
    Image.new("RGB", (31, 20)).save(tmp_path / "train" / "3.png")
    empty, size = validate_data(train, None)
    assert "image 0" in empty and "1.png" in empty and "0 bytes" in empty
    assert "image 2" in size and "31x20" in size and "30x20" in size
    assert validate_data(train, None, decode=False) == []


def test_summary(split):
    def crowd(said):
        said["annotations"][1] |= {"iscrowd": 1}

    text = summary(split("train", [1, 2, 3], change=crowd))
    for words in ("images   3 (0 without objects)", "objects  2 and 1 crowds", "30x20", "masks    yes", "classes  2"):
        assert words in text
    assert "  person  2\n  dog     0" in text

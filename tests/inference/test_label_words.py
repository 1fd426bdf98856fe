"""What `depthbox label` says of boxes and words that are not fit: one line each, and no file."""

import json
from pathlib import Path

import pytest
from command_line import depthbox


def spoiled(said: dict, **changes: object) -> dict:
    return {**said, "annotations": [{**said["annotations"][0], **changes}, *said["annotations"][1:]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda boxes: spoiled(boxes, bbox=[1, 1, -5, 4]), "annotation 1 (image 1): bbox [1, 1, -5, 4] has a negative"),
        (lambda boxes: spoiled(boxes, bbox=[90, 60, 50, 40]), "annotation 1 (image 1): bbox [90, 60, 50, 40] leaves the image"),
        (lambda boxes: spoiled(boxes, iscrowd=1, segmentation={"size": [64, 96], "counts": "garbage!"}), "annotation 1 (image 1): RLE counts"),
        (lambda boxes: spoiled(boxes, iscrowd=1, segmentation={"size": [64, 96], "counts": [5, 5]}), "RLE counts add up to 10"),
        (lambda boxes: spoiled(boxes, iscrowd=1, segmentation={"size": [-64, 96], "counts": [5]}), "RLE size is [-64, 96]"),
        (lambda boxes: spoiled(boxes, iscrowd=1, segmentation={"size": ["64", "96"], "counts": [5]}), "RLE size is ['64', '96']"),
        (lambda boxes: {**boxes, "images": [{**boxes["images"][0], "file_name": "gone.png"}, *boxes["images"][1:]]}, "image 1: there is no photo 'gone.png'"),
        (lambda boxes: {**boxes, "annotations": []}, "holds no box outside crowds"),
    ],
)  # fmt: skip
def test_bad_boxes_are_named_in_one_line(change, said: str, trained: Path, data: Path, tmp_path: Path) -> None:
    source = tmp_path / "boxes.json"
    source.write_text(json.dumps(change(json.loads((data / "boxes_train.json").read_text()))))
    answer = depthbox("label", trained, "--boxes", source, "--images", data / "train", "--out", tmp_path / "m.json")
    assert answer.status == 1 and answer.fault.startswith(f"depthbox: {source}: ") and said in answer.fault, (
        answer.fault
    )
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["{run}"], 2, "all four are needed"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}"], 2, "all four are needed"),
        (["{run}", "--boxes", "{boxes}", "boxes={boxes}", "--images", "{photos}", "--out", "{out}"], 2, "given twice"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}", "--out", "{out}.txt"], 2, "a file that ends in .json"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}", "--out", "{boxes}"], 2, "is the file of the boxes"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}", "--out", "{out}", "matching.box_cost=0.9"], 2, "together at most 1"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}", "--out", "{out}", "depth.source=bulltin"], 2, "did you mean builtin"),
        (["{photos}", "--boxes", "{boxes}", "--images", "{photos}", "--out", "{out}"], 1, "holds no experiment.json"),
        (["{run}", "--boxes", "{boxes}", "--images", "{photos}/no", "--out", "{out}"], 1, "the images folder does not exist"),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(
    words: list[str], status: int, said: str, trained: Path, data: Path, tmp_path: Path
) -> None:
    places = {"run": trained, "boxes": data / "boxes_train.json", "photos": data / "train", "out": tmp_path / "m.json"}
    answer = depthbox("label", *(word.format(**places) for word in words))
    assert (answer.status, said in answer.fault) == (status, True), answer.fault

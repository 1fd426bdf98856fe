"""Cityscapes' own score is what its evaluator makes of files of the official form, and is not COCO's."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_city import write_tiny_city

from depthbox.data.cityscapes import instance_maps, read_cityscapes
from depthbox.data.decode import rasterise
from depthbox.data.schema import CocoData, Detections
from depthbox.evaluate.cityscapes import cityscapes_scores
from depthbox.evaluate.instance import score, to_rle

official = pytest.importorskip(
    "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling", reason="an extra: depthbox[cityscapes]"
)


@pytest.fixture
def city(tmp_path: Path) -> CocoData:
    folder = write_tiny_city(tmp_path / "city", splits=("val",), photos=6)
    return read_cityscapes(folder / "gtFine/val", images=folder / "leftImg8bit/val", masks=True)


def found(data: CocoData, *, spoil: bool, seed: int = 0, least: int = 0) -> list[Detections]:
    """The truth without groups and without objects below `least` pixels; spoilt: masks moved, some classes wrong, some doubled, some on nothing."""
    rng, out = np.random.default_rng(seed), []
    for record in data.records:
        masks, labels = [], []
        for segmentation, label, crowd in zip(record.segmentations, record.labels, record.crowd, strict=True):
            mask = rasterise(segmentation, record.size_hw)
            if crowd or mask.sum() < least:
                continue
            for _ in range(1 + int(spoil and rng.random() < 0.3)):
                moved = np.roll(mask, rng.integers(-3, 4, 2), (0, 1)) if spoil else mask
                masks.append(moved)
                labels.append(int(rng.integers(8)) if spoil and rng.random() < 0.1 else int(label))
        if spoil:
            masks.append(rng.random(record.size_hw) < 0.1)
            labels.append(2)
        out.append(
            Detections(
                image_id=record.image_id,
                boxes_xyxy=np.tile(np.float32([0, 0, 9, 9]), (len(masks), 1)),
                scores=rng.random(len(masks)).astype(np.float32),
                labels=np.array(labels, np.int64),
                masks=tuple(to_rle({"size": list(m.shape), "counts": _counts(m)}, m.shape) for m in masks),
            )
        )
    return out


def _counts(mask: np.ndarray) -> bytes:
    from pycocotools import mask as coder

    return coder.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def by_files(data: CocoData, detections: list[Detections], folder: Path, monkeypatch) -> dict:
    """What `csEvalInstanceLevelSemanticLabeling` does with the text files and masks that its site asks for."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    truth, texts = [str(file) for file in instance_maps(data.source)], []
    for file, one in zip(truth, detections, strict=True):
        lines = []
        for number, (mask, label, confidence) in enumerate(zip(one.masks, one.labels, one.scores, strict=True)):
            name = f"{one.image_id}_{number}.png"
            Image.fromarray(rasterise(mask, mask["size"]).astype(np.uint8) * 255).save(folder / name)
            lines.append(f"{name} {data.category_ids[label]} {float(confidence)!r}\n")
        text = folder / Path(file).name.replace("_gtFine_instanceIds.png", ".txt")
        text.write_text("".join(lines))
        texts.append(str(text))
    settings = official.CArgs()
    vars(settings).update(vars(official.args))
    settings.quiet, settings.predictionPath, settings.JSONOutput = True, str(folder), False
    # It keeps its matches as JSON beside it, which fails on numpy's integers; nothing reads them.
    monkeypatch.setattr(official, "writeDict2JSON", lambda *_: None)
    settings.gtInstancesFile = str(folder / "gtInstances.json")
    return official.evaluateImgLists(texts, truth, settings)["averages"]


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_the_evaluators_own_files(city, tmp_path, monkeypatch, seed):
    detections = found(city, spoil=True, seed=seed)
    scores = cityscapes_scores(city, detections)
    expected = by_files(city, detections, tmp_path / "files", monkeypatch)
    assert scores.note == "" and 0.05 < scores.values["cityscapes_ap"] < 0.95
    assert scores.values["cityscapes_ap"] == expected["allAp"]
    assert scores.values["cityscapes_ap50"] == expected["allAp50%"]
    for name in city.class_names:
        one = scores.values[f"cityscapes_ap/{name}"]
        assert one == expected["classes"][name]["ap"] or (
            math.isnan(one) and math.isnan(expected["classes"][name]["ap"])
        )
    assert json.dumps(scores.values["cityscapes_ap"]), "a plain number"


def test_small_objects_count_for_coco_alone(city):
    """The bicycle has 16 pixels."""
    large = found(city, spoil=False, least=100)
    ours, theirs = cityscapes_scores(city, large).values, score(city, large).values
    assert ours["cityscapes_ap"] == pytest.approx(1) and math.isnan(ours["cityscapes_ap/bicycle"])
    assert theirs["mask_ap/bicycle"] == 0.0 and theirs["mask_ap"] < 0.7
    together = score(city, large).beside(cityscapes_scores(city, large))
    assert together.values["mask_ap"] == theirs["mask_ap"] and together.values["cityscapes_ap"] == ours["cityscapes_ap"]
    assert together.note == ""


def test_a_photo_without_detections_has_missed_its_objects(city):
    every = found(city, spoil=False)
    whole = cityscapes_scores(city, every).values["cityscapes_ap"]
    assert cityscapes_scores(city, every[1:]).values["cityscapes_ap"] < whole
    nothing = cityscapes_scores(city, [])
    assert nothing.values["cityscapes_ap"] == 0.0


def test_what_cannot_be_scored_is_said(city, monkeypatch):
    boxes = [
        Detections(image_id=0, boxes_xyxy=np.zeros((1, 4), np.float32), scores=np.ones(1), labels=np.zeros(1, int), masks=None)
    ]  # fmt: skip
    assert cityscapes_scores(city, boxes).note == "cityscapes_ap was not scored: the detections are boxes only"
    coco = CocoData(source="a.json", records=(), class_names=("a",), category_ids=(1,), digest="")
    assert cityscapes_scores(coco, []).values == {} and cityscapes_scores(coco, []).note == ""
    monkeypatch.setitem(sys.modules, "cityscapesscripts.evaluation", None)
    said = cityscapes_scores(city, []).note
    assert said.startswith("cityscapes_ap was not scored: cityscapesscripts") and "depthbox[cityscapes]" in said

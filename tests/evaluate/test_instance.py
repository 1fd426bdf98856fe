"""COCO scores against pycocotools on random detections, and the merge of the workers' shards."""

import contextlib
import io
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate import fallback
from depthbox.evaluate.instance import merge, score, to_rle

CATEGORY_IDS = (3, 7, 90)  # sparse, as in COCO
SIZE_HW = (60, 80)


def _random_boxes(rng, count):
    corner = rng.uniform(0, 40, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(4, 20, (count, 2))], axis=1).astype(np.float32)


def _diamond(box):
    (x0, y0, x1, y1), (x, y) = box.tolist(), ((box[:2] + box[2:]) / 2).tolist()
    return [[x, y0, x1, y, x, y1, x0, y]]


def _record(rng, image_id, *, objects, crowd_share=0.15):
    boxes = _random_boxes(rng, objects)
    outlines = [_diamond(box) for box in boxes]
    segmentations = tuple(to_rle(o, SIZE_HW) if i % 2 else o for i, o in enumerate(outlines))
    return ImageRecord(
        image_id=image_id,
        path="/nowhere.jpg",
        size_hw=SIZE_HW,
        boxes_xyxy=boxes,
        labels=rng.integers(0, 2, objects),  # class 2 never occurs
        crowd=rng.random(objects) < crowd_share,
        segmentations=segmentations,
        annotation_ids=np.arange(objects),
    )


def _detections(rng, record, *, extra):
    """The true boxes, disturbed, and `extra` inventions; all scores differ."""
    boxes = np.concatenate([record.boxes_xyxy + rng.normal(0, 1.0, record.boxes_xyxy.shape), _random_boxes(rng, extra)])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
    boxes = boxes.astype(np.float32)
    return Detections(
        image_id=record.image_id,
        boxes_xyxy=boxes,
        scores=rng.permutation(np.linspace(0.01, 0.99, 5000))[: len(boxes)].astype(np.float32),
        labels=np.concatenate([record.labels, rng.integers(0, 3, extra)]),
        masks=tuple(to_rle(_diamond(box), SIZE_HW) for box in boxes),
    )


def _data(records):
    return CocoData(
        source="val.json",
        records=tuple(records),
        class_names=("cat", "dog", "owl"),
        category_ids=CATEGORY_IDS,
        digest="0",
    )


def _random_case(seed, *, images=12, extra=5):
    rng = np.random.default_rng(seed)
    data = _data(_record(rng, 10 + i, objects=int(rng.integers(0, 6))) for i in range(images))
    return data, [_detections(rng, record, extra=extra) for record in data.records]


def _annotation(image_id, box, label, **more):
    x0, y0, x1, y1 = box.astype(np.float64).tolist()
    size = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
    return {"image_id": image_id, "category_id": CATEGORY_IDS[label], **size, **more}


def _oracle(data, detections, kind):
    """pycocotools itself: AP, AP50, AP75 and the AP of each class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def coco(annotations):
        made = COCO()
        made.dataset = {
            "images": [{"id": r.image_id, "height": SIZE_HW[0], "width": SIZE_HW[1]} for r in data.records],
            "categories": [{"id": i, "name": str(i)} for i in CATEGORY_IDS],
            "annotations": [{"id": number, **a} for number, a in enumerate(annotations, start=1)],
        }
        made.createIndex()
        return made

    truth = [
        _annotation(r.image_id, box, label, iscrowd=int(crowd), segmentation=segmentation)
        for r in data.records
        for box, label, crowd, segmentation in zip(r.boxes_xyxy, r.labels, r.crowd, r.segmentations, strict=True)
    ]
    found = [
        _annotation(d.image_id, box, label, score=float(confidence), segmentation=dict(rle), iscrowd=0)
        for d in detections
        for box, label, confidence, rle in zip(d.boxes_xyxy, d.labels, d.scores, d.masks, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(coco(truth), coco(found), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    classes = [p[p > -1].mean() if (p > -1).any() else math.nan for p in np.moveaxis(precision, 2, 0)]
    return evaluator.stats[:3], classes


def _close(values, expected):
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_with_crowds_and_sparse_ids(seed, capfd):
    data, detections = _random_case(seed)
    scores = score(data, detections)
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        overall, classes = _oracle(data, detections, kind)
        _close([scores.values[f"{name}_ap{suffix}"] for suffix in ("", "50", "75")], overall)
        if name == "mask":
            _close([scores.values[f"mask_ap/{c}"] for c in data.class_names], classes)
    assert scores.note == "" and math.isnan(scores.values["mask_ap/owl"]) and 0.1 < scores.values["mask_ap"] < 0.99
    assert capfd.readouterr().out == ""


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), extra=st.sampled_from([0, 3, 30]))
def test_numpy_box_precision_equals_pycocotools(seed, extra):
    data, detections = _random_case(seed, images=5, extra=extra)
    if all(record.crowd.all() for record in data.records):
        return
    precision = fallback.box_precision(data, detections)
    overall, classes = _oracle(data, detections, "bbox")
    _close([precision[rows][precision[rows] > -1].mean() for rows in (slice(None), 0, 5)], overall)
    _close([p[p > -1].mean() if (p > -1).any() else math.nan for p in np.moveaxis(precision, 2, 0)], classes)


def test_at_most_100_detections_of_an_image_and_class_count():
    rng = np.random.default_rng(0)
    data = _data([_record(rng, i, objects=5, crowd_share=0.0) for i in range(2)])
    detections = [_detections(rng, record, extra=400) for record in data.records]
    overall, _ = _oracle(data, detections, "bbox")
    precision = fallback.box_precision(data, detections)
    _close(precision[precision > -1].mean(), overall[0])
    _close(score(data, detections).values["box_ap"], overall[0])


@pytest.mark.parametrize("missing", ["faster_coco_eval", "pycocotools"])
def test_without_the_libraries_boxes_are_scored_and_the_note_says_why(missing, monkeypatch):
    data, detections = _random_case(1)
    full = score(data, detections).values
    monkeypatch.setitem(sys.modules, missing, None)
    scores = score(data, detections)
    assert missing in scores.note and not any(key.startswith("mask") for key in scores.values)
    _close(
        [scores.values[key] for key in ("box_ap", "box_ap50", "box_ap75")],
        [full[k] for k in ("box_ap", "box_ap50", "box_ap75")],
    )


def test_mask_iou_is_the_mean_best_iou_of_the_same_class():
    from pycocotools import mask

    data, detections = _random_case(2)
    best = []
    for record, found in zip(data.records, detections, strict=True):
        for i in np.flatnonzero(~record.crowd):
            same = [rle for rle, label in zip(found.masks, found.labels, strict=True) if label == record.labels[i]]
            overlaps = mask.iou(same, [to_rle(record.segmentations[i], SIZE_HW)], [0]) if same else np.zeros(1)
            best.append(overlaps.max())
    assert score(data, detections).values["mask_iou"] == pytest.approx(np.mean(best))


def _replace(record, **changes):
    from dataclasses import replace

    return replace(record, **changes)


def test_validation_without_masks_gives_box_scores_and_a_note():
    data, detections = _random_case(3)
    bare = _data(_replace(r, segmentations=(None,) * len(r.labels)) for r in data.records)
    scores = score(bare, detections)
    assert "masks were not scored" in scores.note and "val.json" in scores.note
    assert set(scores.values) == {"box_ap", "box_ap50", "box_ap75", "box_ap/cat", "box_ap/dog", "box_ap/owl"}
    boxes_only = [_replace(d, masks=None) for d in detections]
    assert "boxes only" in score(data, boxes_only).note
    _close(score(data, boxes_only).values["box_ap"], score(data, detections).values["box_ap"])


def test_a_crowd_without_a_mask_is_ignored_by_its_box():
    rng = np.random.default_rng(5)
    record = _record(rng, 1, objects=2, crowd_share=0.0)
    record = _replace(record, labels=np.array([0, 0]), crowd=np.array([False, True]))
    record = _replace(record, segmentations=(record.segmentations[0], None))
    boxes = record.boxes_xyxy
    inside = np.concatenate([boxes[:1], boxes[1:] + np.array([1, 1, -1, -1], dtype=np.float32)])
    found = Detections(
        image_id=1,
        boxes_xyxy=inside,
        scores=np.array([0.5, 0.9], dtype=np.float32),
        labels=np.array([0, 0]),
        masks=tuple(to_rle(_diamond(box), SIZE_HW) for box in inside),
    )
    scores = score(_data([record]), [found])
    assert scores.values["mask_ap"] == pytest.approx(1.0) and scores.values["box_ap"] == pytest.approx(1.0)


@pytest.mark.parametrize("missing", [None, "faster_coco_eval"])
def test_nothing_found_and_nothing_to_find(missing, monkeypatch):
    data, detections = _random_case(4)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    nothing = [
        _replace(d, boxes_xyxy=d.boxes_xyxy[:0], scores=d.scores[:0], labels=d.labels[:0], masks=()) for d in detections
    ]
    for silent in (nothing, [_replace(d, masks=None) for d in nothing], []):
        values = score(data, silent).values
        assert values["box_ap"] == 0.0 and values.get("mask_ap", 0.0) == 0.0 and values.get("mask_iou", 0.0) == 0.0
    rng = np.random.default_rng(0)
    objectless = _data([_record(rng, 1, objects=0)])
    for empty, found in ((_data([]), []), (objectless, [_detections(rng, objectless.records[0], extra=3)])):
        scores = score(empty, found)
        assert math.isnan(scores.values["box_ap"]) and "no object" in scores.note


def test_repeated_class_names_keep_both_classes():
    data, detections = _random_case(0)
    data = _replace(data, class_names=("cat", "cat", "owl"))
    assert {"mask_ap/cat 3", "mask_ap/cat 7", "mask_ap/owl"} < set(score(data, detections).values)


def test_wrong_input_is_refused_in_words():
    data, detections = _random_case(0)
    with pytest.raises(ValueError, match="image 10 is scored 2 times"):
        score(data, [*detections, detections[0]])
    with pytest.raises(ValueError, match=r"image 999 is not in val\.json"):
        score(data, [_replace(detections[0], image_id=999)])
    small = to_rle([[1, 1, 9, 1, 9, 9]], (20, 20))
    with pytest.raises(ValueError, match="its mask"):
        score(data, [_replace(detections[0], masks=(small,) * len(detections[0].scores))])


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_every_image_is_scored_once_on_any_world_size(world_size):
    data, detections = _random_case(6, images=7)
    padded = detections + detections[: -len(detections) % world_size]
    shards = [padded[rank::world_size] for rank in range(world_size)]
    merged = merge(shards, image_ids=[record.image_id for record in data.records])
    assert [one.image_id for one in merged] == [record.image_id for record in data.records]
    assert score(data, merged).values == pytest.approx(score(data, detections).values, nan_ok=True)


def test_a_forgotten_or_foreign_image_is_an_error():
    _, detections = _random_case(6, images=3)
    with pytest.raises(ValueError, match="image 12 was scored by no worker"):
        merge([detections[:2]], image_ids=[10, 11, 12])
    with pytest.raises(ValueError, match=r"image 11 \(and 1 more\) is not to be scored"):
        merge([detections], image_ids=[10])
    assert merge([], image_ids=[]) == []

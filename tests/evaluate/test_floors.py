"""The floor rows: shapes inscribed in boxes."""

import json
import math

import numpy as np
import pytest
from pycocotools import mask

from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate.floors import box_as_mask, inscribed_ellipse, mean_iou_of_boxes
from depthbox.evaluate.instance import score, to_rle

SIZE_HW = (48, 64)
BOXES = np.array([[4, 6, 40, 30], [10, 0, 64, 48], [20.3, 11.6, 23.1, 19.2]], dtype=np.float32)


def _data(boxes, segmentations, *, size_hw=SIZE_HW):
    record = ImageRecord(
        image_id=5,
        path="/nowhere.jpg",
        size_hw=size_hw,
        boxes_xyxy=boxes,
        labels=np.zeros(len(boxes), dtype=np.int64),
        crowd=np.zeros(len(boxes), dtype=bool),
        segmentations=segmentations,
        annotation_ids=np.arange(len(boxes)),
    )
    return CocoData(source="val.json", records=(record,), class_names=("thing",), category_ids=(1,), digest="0")


def _detections(boxes=BOXES):
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return Detections(
        image_id=5, boxes_xyxy=boxes, scores=scores, labels=np.zeros(len(boxes), dtype=np.int64), masks=None
    )


def _inside(box, shape):
    """The plain definition: pixels whose centre lies in the shape."""
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]] + 0.5
    u, v = (2 * x - box[0] - box[2]) / (box[2] - box[0]), (2 * y - box[1] - box[3]) / (box[3] - box[1])
    return (np.maximum(abs(u), abs(v)) if shape == "box" else u**2 + v**2) <= 1


def _decoded(rle):
    return mask.decode([rle])[:, :, 0].astype(bool)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
@pytest.mark.parametrize("shape, floor", [("box", box_as_mask), ("ellipse", inscribed_ellipse)])
def test_masks_are_the_shape_in_the_box(shape, floor):
    data = _data(BOXES, (None,) * len(BOXES))
    (made,) = floor([_detections()], data)
    assert made.image_id == 5 and made.scores is not None and np.array_equal(made.boxes_xyxy, BOXES)
    for box, rle in zip(BOXES[:2], made.masks, strict=False):
        drawn, wanted = _decoded(rle), _inside(box, shape)
        assert drawn.shape == SIZE_HW and isinstance(rle["counts"], str)
        assert (drawn & wanted).sum() / (drawn | wanted).sum() > (0.999 if shape == "box" else 0.97)
    assert mask.area(made.masks[2]) == pytest.approx(_inside(BOXES[2], shape).sum(), abs=8)


def test_a_box_past_the_border_is_cut_and_none_is_none():
    data = _data(BOXES, (None,) * len(BOXES))
    outside = np.array([[-10, -10, 20, 20]], dtype=np.float32)
    (cut,) = box_as_mask([_detections(outside)], data)
    assert mask.area(cut.masks[0]) == 20 * 20
    (empty,) = inscribed_ellipse([_detections(BOXES[:0])], data)
    assert empty.masks == ()


def test_the_floor_keeps_box_scores_and_changes_mask_scores():
    truth = _data(
        BOXES[:2], tuple(to_rle([[x0, y0, x1, y0, x1, y1]], SIZE_HW) for x0, y0, x1, y1 in BOXES[:2].tolist())
    )
    boxed, rounded = (
        score(truth, floor([_detections(BOXES[:2])], truth)).values for floor in (box_as_mask, inscribed_ellipse)
    )
    assert boxed["box_ap"] == rounded["box_ap"] == pytest.approx(1.0)
    assert boxed["mask_iou"] == pytest.approx(0.5, abs=0.03) == mean_iou_of_boxes(truth)
    assert rounded["mask_iou"] == pytest.approx(mean_iou_of_boxes(truth, "ellipse"))


def test_no_masks_no_mean():
    assert math.isnan(mean_iou_of_boxes(_data(BOXES, (None,) * len(BOXES))))


def _shared_truth(shared, name):
    file = shared / "data" / name
    if not file.exists():
        pytest.skip(f"{name} is not beside the repository")
    raw = json.loads(file.read_text())
    records = []
    for image in raw["images"]:
        mine = [a for a in raw["annotations"] if a["image_id"] == image["id"]]
        xywh = np.array([a["bbox"] for a in mine], dtype=np.float32).reshape(-1, 4)
        records.append(
            ImageRecord(
                image_id=image["id"],
                path="/nowhere.jpg",
                size_hw=(image["height"], image["width"]),
                boxes_xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
                labels=np.zeros(len(mine), dtype=np.int64),
                crowd=np.array([bool(a.get("iscrowd", 0)) for a in mine]),
                segmentations=tuple(a["segmentation"] for a in mine),
                annotation_ids=np.array([a["id"] for a in mine]),
            )
        )
    return CocoData(source=name, records=tuple(records), class_names=("any",), category_ids=(1,), digest="0")


@pytest.mark.parametrize(
    "name, shape, iou",
    [
        ("blocks/instances/annotations/instances_val.json", "box", 0.63),
        ("pennfudan/annotations/instances_train.json", "box", 0.50),  # val: 0.506 and 0.589
        ("pennfudan/annotations/instances_train.json", "ellipse", 0.58),
    ],
)
def test_floors_of_the_shared_data(name, shape, iou, shared):
    assert mean_iou_of_boxes(_shared_truth(shared, name), shape) == pytest.approx(iou, abs=0.005)

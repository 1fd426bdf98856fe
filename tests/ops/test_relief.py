"""What stands out of the surface around a box."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthbox.ops.masks import box_masks, ellipse_masks
from depthbox.ops.relief import affine_background, relief_masks

SIZE = (96, 128)
TILT = st.floats(-0.5, 0.5)


def ground(tilt_x: float = 0.0, tilt_y: float = 0.3) -> torch.Tensor:
    ys, xs = torch.linspace(0, 1, SIZE[0] // 4), torch.linspace(0, 1, SIZE[1] // 4)
    return 0.3 + tilt_x * xs + tilt_y * ys[:, None]


def rounded(box: torch.Tensor) -> torch.Tensor:
    """An object that reaches all four sides of its box: bool "h w"."""
    ys, xs = torch.arange(2, SIZE[0], 4), torch.arange(2, SIZE[1], 4)
    (cx, cy), (w, h) = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    return ((xs - cx) / w).abs() ** 2.5 + ((ys[:, None] - cy) / h).abs() ** 2.5 <= 1


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one & other).sum() / (one | other).sum()).item()


@given(TILT, TILT)
def test_an_object_on_any_plane_is_found_whatever_its_tilt(tilt_x: float, tilt_y: float) -> None:
    boxes = torch.tensor([[30.0, 20.0, 94.0, 76.0]])
    truth, inside = rounded(boxes[0]), box_masks(boxes, SIZE, 4)
    masks, trust = relief_masks(ground(tilt_x, tilt_y) + 0.1 * truth, boxes, inside, stride=4)
    assert trust[0] > 0.6 and iou(masks[0] > 0.5, truth & inside[0]) > 0.95
    assert not masks[0][~inside[0]].any()


def test_overlapping_objects_share_their_boxes_by_disparity() -> None:
    boxes = torch.tensor([[10.0, 20.0, 74.0, 76.0], [50.0, 20.0, 114.0, 76.0]])
    near, far = rounded(boxes[1]), rounded(boxes[0])
    disparity = torch.where(near, ground() + 0.2, torch.where(far, ground() + 0.08, ground()))
    masks, trust = relief_masks(disparity, boxes, box_masks(boxes, SIZE, 4), stride=4)
    assert (trust > 0.5).all()
    assert iou(masks[0] > 0.5, far & ~near) > 0.85 and iou(masks[1] > 0.5, near) > 0.85


def test_a_surface_without_relief_is_not_trusted_and_leaves_the_ellipse() -> None:
    boxes = torch.tensor([[30.0, 20.0, 94.0, 76.0]])
    masks, trust = relief_masks(ground(), boxes, box_masks(boxes, SIZE, 4), stride=4)
    assert trust[0] == 0 and torch.equal(masks[0] >= 0.5, ellipse_masks(boxes, SIZE, 4)[0])


def test_unknown_disparity_and_no_objects_are_finite() -> None:
    boxes = torch.tensor([[30.0, 20.0, 94.0, 76.0], [0.0, 0.0, 127.0, 95.0]])
    for disparity in (torch.full((24, 32), torch.nan), torch.where(rounded(boxes[0]), torch.nan, ground())):
        masks, trust = relief_masks(disparity, boxes, box_masks(boxes, SIZE, 4), stride=4)
        assert masks.isfinite().all() and trust.isfinite().all() and not trust.any()
    none = torch.zeros(0, 4)
    masks, trust = relief_masks(ground(), none, box_masks(none, SIZE, 4), stride=4)
    assert masks.shape == (0, 24, 32) and trust.shape == (0,)


def test_another_object_on_the_ring_does_not_bend_the_plane() -> None:
    ring = torch.zeros(24, 32, dtype=torch.bool)
    ring[4:20, 4:28], ring[8:16, 10:22] = True, False
    other = torch.zeros_like(ring)
    other[4:9, 4:9] = True
    plane, noise = affine_background(ground() + 0.3 * other, ring.flatten()[None])
    assert plane[0].view(24, 32)[8:16, 10:22].sub(ground()[8:16, 10:22]).abs().max() < 0.01 and noise[0] < 0.02


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_blurred_steps_still_give_a_mask(scale: float) -> None:
    boxes = torch.tensor([[30.0, 20.0, 94.0, 76.0]])
    truth = rounded(boxes[0])
    soft = torch.nn.functional.avg_pool2d((ground() + 0.2 * truth)[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    masks, _ = relief_masks(soft * scale, boxes, box_masks(boxes, SIZE, 4), stride=4)
    assert iou(masks[0] > 0.5, truth) > 0.7


def test_a_share_of_the_crest_cuts_the_foot_of_a_blurred_step() -> None:
    boxes = torch.tensor([[30.0, 20.0, 94.0, 76.0]])
    truth, inside = rounded(boxes[0]), box_masks(boxes, SIZE, 4)
    blurred = torch.nn.functional.avg_pool2d((0.1 * truth)[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    found = {
        share: iou(relief_masks(ground() + blurred, boxes, inside, stride=4, share=share)[0][0] > 0.5, truth)
        for share in (0.0, 0.4)
    }
    assert found[0.4] > found[0.0] + 0.1 and found[0.4] > 0.9

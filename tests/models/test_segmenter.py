"""The composition: masks where the detector says, with the coordinates and sizes that the head was defined with."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.models.config import ModelConfig
from depthbox.models.detector import LEVEL_STRIDES, locations
from depthbox.models.dynamic_head import HEADS, SIZES_OF_INTEREST, mask_head
from depthbox.models.mask_branch import Controller
from depthbox.models.segmenter import Segmenter, build
from depthbox.ops.masks import aligned_bilinear

SMALL = ModelConfig(backbone="mobilenetv2_035", weights="none", channels=32, head_depth=1, mask_width=16)
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
WHERE = (torch.tensor([0, 0, 1]), torch.tensor([5, 96, 122]))
"""Three instances: level 8, level 16 and level 32 of 64 x 96 pixels."""


def small(**overrides) -> Segmenter:
    torch.manual_seed(3)
    return build(vary(SMALL, overrides), classes=4)


@torch.no_grad()
def test_the_dense_outputs_fit_together():
    dense = small()(IMAGES).dense
    cells = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    number = sum(h * w for h, w in cells)
    assert dense.class_logits.shape == (2, number, 4) and dense.boxes_xyxy.shape == (2, number, 4)
    assert dense.quality_logits.shape == (2, number) and dense.level.bincount().tolist() == [h * w for h, w in cells]
    assert torch.equal(
        dense.points_xy, torch.cat([locations(h, w, s) for (h, w), s in zip(cells, LEVEL_STRIDES, strict=True)])
    )
    assert [tuple(t.shape) for t in dense.tower] == [(2, 32, h, w) for h, w in cells]
    x0, y0, x1, y1 = dense.boxes_xyxy.unbind(-1)
    inside = (
        (x0 <= dense.points_xy[:, 0])
        & (dense.points_xy[:, 0] <= x1)
        & (y0 <= dense.points_xy[:, 1])
        & (dense.points_xy[:, 1] <= y1)
    )
    assert inside.all() and dense.class_logits.sigmoid().mean() < 0.02


@torch.no_grad()
def test_the_controller_equals_the_dense_convolution():
    controller = Controller(16, 20)
    controller.conv.bias.normal_()
    tower = [torch.randn(3, 16, h, w) for h, w in ((5, 6), (3, 3), (1, 2), (1, 1))]
    dense = torch.cat(
        [F.conv2d(t, controller.conv.weight, controller.conv.bias, padding=1).flatten(2) for t in tower], 2
    )
    image_index, point_index = (
        i.flatten() for i in torch.meshgrid(torch.arange(3), torch.arange(dense.shape[2]), indexing="ij")
    )
    chosen = torch.randperm(len(image_index))[:60]
    for picked in (slice(None), chosen, chosen[:0]):
        i, p = image_index[picked], point_index[picked]
        torch.testing.assert_close(controller(tower, i, p), dense[i, :, p], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stride", [4, 8])
@torch.no_grad()
def test_masks_are_made_where_the_instances_are(head, stride):
    model = small(mask_head=head, mask_feature_stride=stride)
    features = model(IMAGES)
    masks = model.masks(features, *WHERE)
    height, width = 64 // stride, 96 // stride
    assert features.mask_features.shape == (2, 16, height, width)
    assert masks.logits.shape == (3, 16, 24) and (masks.depth is None) == (head == "condinst")
    relative = torch.empty(3, 2, height, width)
    for n, point in enumerate(WHERE[1].tolist()):
        x, y = features.dense.points_xy[point]
        size = SIZES_OF_INTEREST[features.dense.level[point]]
        relative[n, 0] = (x - (stride * torch.arange(width) + stride // 2)) / size
        relative[n, 1] = ((y - (stride * torch.arange(height) + stride // 2)) / size)[:, None]
    parameters = model.controller(features.dense.tower, *WHERE)
    wanted = mask_head(head, features.mask_features, WHERE[0], parameters, relative)
    torch.testing.assert_close(
        masks.logits, aligned_bilinear(wanted.logits[:, None], stride // 4)[:, 0], rtol=1e-4, atol=1e-5
    )
    assert head == "condinst" or ((masks.depth > 0) & (masks.depth < 1)).all()


def test_training_picks_instances_inside_one_call():
    model = small()
    seen = []

    def pick(features):
        seen.append(features)
        return "everything", SimpleNamespace(image_index=WHERE[0], point_index=WHERE[1])

    features, picked, masks = model(IMAGES, pick)
    assert features is seen[0] and len(seen) == 1 and picked[0] == "everything"
    torch.testing.assert_close(masks.logits, model.masks(features, *WHERE).logits)


def test_no_instance_gives_no_mask_and_keeps_the_graph():
    model = small(mask_head="depth_guided")
    nothing = torch.zeros(0, dtype=torch.int64)
    masks = model.masks(model(IMAGES), nothing, nothing)
    assert masks.logits.shape == masks.depth.shape == (0, 16, 24)
    masks.logits.sum().backward()
    assert model.controller.conv.weight.grad is not None


@torch.no_grad()
def test_the_seed_makes_the_network():
    one, two = small().state_dict(), small().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    torch.manual_seed(4)
    assert not torch.equal(
        build(SMALL, classes=4).state_dict()["controller.conv.weight"], one["controller.conv.weight"]
    )


@torch.no_grad()
def test_an_image_does_not_see_its_neighbours():
    model = small(mask_head="depth_guided").eval()
    together, alone = model(IMAGES), model(IMAGES[1:])
    torch.testing.assert_close(together.dense.class_logits[1:], alone.dense.class_logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together.dense.boxes_xyxy[1:], alone.dense.boxes_xyxy, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(together.mask_features[1:], alone.mask_features, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_mixed_precision_hands_out_single_precision():
    model = small(mask_head="depth_guided").eval()
    exact = model(IMAGES)
    model.mixed = True
    mixed = model(IMAGES)
    outputs = [mixed.mask_features, mixed.dense.class_logits, mixed.dense.boxes_xyxy, mixed.dense.quality_logits]
    assert all(t.dtype == torch.float32 for t in [*outputs, model.masks(mixed, *WHERE).logits])
    assert (mixed.dense.boxes_xyxy - exact.dense.boxes_xyxy).abs().max() < 2


@pytest.mark.parametrize("overrides", [{"channels": 100}, {"mask_width": 20}, {"channels": 0}])
def test_a_width_that_group_norm_cannot_split_is_refused(overrides):
    (name,) = overrides
    with pytest.raises(UsageError, match=rf"model\.{name}=\d+: takes a multiple of 8"):
        small(**overrides)

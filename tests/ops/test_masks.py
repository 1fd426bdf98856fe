"""Masks: dice, boxes as masks, and an upsampling that keeps cells on the pixels they were sampled from."""

import pytest
import torch
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.ops.masks import aligned_bilinear, aligned_spans, box_masks, dice_loss

corner = st.floats(0, 40, width=32)


def test_dice_in_numbers():
    x, t = (
        torch.tensor([[[0.5, 1.0]], [[0.0, 0.0]], [[1.0, 0.0]]]),
        torch.tensor([[[True, True]], [[True, False]], [[True, False]]]),
    )
    assert dice_loss(x, t).tolist() == pytest.approx([1 - 3 / (1.25 + 2 + 1e-5), 1, 0], abs=1e-5)
    assert dice_loss(x[:0], t[:0]).shape == (0,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12), st.lists(st.booleans(), min_size=6, max_size=6))
def test_dice_is_between_0_and_1(values, truth):
    x, t = torch.tensor(values).view(2, 2, 3), torch.tensor(truth).view(1, 2, 3).expand(2, 2, 3)
    loss = dice_loss(x, t)
    assert (loss >= -1e-6).all() and (loss <= 1).all()
    assert not t.any() or dice_loss(t.float(), t)[0] < 1e-5


@settings(max_examples=50, deadline=None)
@given(corner, corner, corner, corner, st.sampled_from((2, 4, 8)))
def test_a_box_mask_is_the_full_one_sampled(x0, y0, x1, y1, stride):
    x0, x1, y0, y1 = *sorted((x0, x1)), *sorted((y0, y1))
    full = torch.zeros(48, 32, dtype=torch.bool)
    full[int(y0) : int(y1 + 1), int(x0) : int(x1 + 1)] = True
    (sampled,) = box_masks(torch.tensor([[x0, y0, x1, y1]]), (48, 32), stride)
    assert torch.equal(sampled, full[stride // 2 :: stride, stride // 2 :: stride])


def test_no_boxes_no_masks():
    assert box_masks(torch.zeros(0, 4), (64, 96), 4).shape == (0, 16, 24)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_keeps_each_cell_on_the_pixel_it_was_sampled_from(factor):
    values = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    up = aligned_bilinear(values, factor)
    assert up.shape == (2, 3, 5 * factor, 7 * factor)
    torch.testing.assert_close(up[..., factor // 2 :: factor, factor // 2 :: factor], values)
    between = (values[..., 0, 0] + values[..., 0, 1]) / 2
    torch.testing.assert_close(up[..., factor // 2, factor // 2 + factor // 2], between)
    assert torch.equal(aligned_bilinear(torch.ones(1, 1, 3, 3), factor), torch.ones(1, 1, 3 * factor, 3 * factor))


def test_upsampling_by_one_changes_nothing():
    values = torch.randn(1, 1, 3, 4)
    assert aligned_bilinear(values, 1) is values


def test_golden_masks(shared):
    said = golden_values(shared, "boxinst_losses")
    truth = said["gt_bitmasks"][:, 0]
    assert torch.equal(box_masks(said["boxes_xyxy"], (256, 384), 4).float(), truth)
    torch.testing.assert_close(
        dice_loss(said["mask_logits"][:, 0].sigmoid(), truth), said["dice"], rtol=1e-4, atol=1e-5
    )


def test_golden_upsampling(shared):
    said = golden_values(shared, "condinst_head")
    for factor in (2, 4):
        torch.testing.assert_close(aligned_bilinear(said["ab_in"], factor), said[f"ab_x{factor}"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_spans_are_the_rows_and_columns_of_the_whole_map(factor):
    values = torch.rand(3, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    whole = aligned_bilinear(values, factor)
    rows, columns = aligned_spans(values, factor)
    torch.testing.assert_close(rows, whole.amax(-1))
    torch.testing.assert_close(columns, whole.amax(-2))
    assert aligned_spans(values[:0], factor)[0].shape == (0, 1, 7 * factor)

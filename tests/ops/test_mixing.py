"""DepthMix and ClassMix: a whole published step, and cases whose answer is known."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from golden_values import golden_values
from torch import Tensor

from depthbox.core.shapes import IGNORE
from depthbox.ops.mixing import (
    class_mask,
    confident_share,
    depth_mask,
    half_of_classes,
    mix,
    mixed_cross_entropy,
    one_hot_truth,
    pseudo_labels,
)

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def golden(shared: Path) -> Mapping[str, Tensor]:
    return golden_values(shared, "depthmix", folder="self_supervised_depth")


def both(values: Tensor) -> tuple[Tensor, Tensor]:
    """Each image of the pair, and its partner."""
    return values, values.flip(0)


@pytest.mark.parametrize(("name", "margin"), [("m0p03", 0.03), ("m0", 0.0), ("m0p10", 0.1)])
def test_masks_as_published(golden, name: str, margin: float):
    found = depth_mask(*both(golden["disparity"][:, 0]), margin=margin)
    assert torch.equal(found, golden[f"mask_{name}_ft0"].bool())


def test_a_whole_step_as_published(golden):
    mask = depth_mask(*both(golden["disparity"][:, 0]))
    torch.testing.assert_close(mix(mask, *both(golden["images"])), golden["mixed_images"], **CLOSE)
    truth = golden["gt_labels_img0"][None]
    known = one_hot_truth(torch.where(truth == 250, IGNORE, truth), 6)
    assert torch.equal(known[0], golden["gt_onehot_img0"])
    probabilities = torch.cat((known.float(), golden["teacher_logits"][1:].softmax(1)))
    mixed = mix(mask, *both(probabilities))
    torch.testing.assert_close(mixed, golden["step_softmax_mixed"], **CLOSE)
    confidence, labels = pseudo_labels(mixed)
    assert torch.equal(torch.where(labels == IGNORE, 250, labels), golden["step_pseudo_label"])
    q = confident_share(confidence)
    torch.testing.assert_close(q, golden["step_weight_q"], **CLOSE)
    logits = golden["student_logits"].requires_grad_()
    loss = mixed_cross_entropy(logits, labels, q)
    torch.testing.assert_close(loss, golden["step_loss"], **CLOSE)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], golden["step_grad_student_logits"], **CLOSE)


def test_class_mask_as_published(golden):
    found = class_mask(golden["class_mask_pred"], golden["class_mask_classes"])
    assert torch.equal(found, golden["class_mask"].bool())


def test_half_of_the_classes_of_an_image():
    labels = torch.tensor([[0, 3, 3], [7, 5, IGNORE]])
    drawn = [tuple(half_of_classes(labels, torch.Generator().manual_seed(i)).tolist()) for i in range(30)]
    assert all(len(set(two)) == 2 and set(two) <= {0, 3, 5, 7} for two in drawn) and len(set(drawn)) > 6
    odd = half_of_classes(torch.tensor([1, 2, 4]), torch.Generator().manual_seed(0))
    assert len(odd) == 2
    assert len(half_of_classes(torch.full((2, 2), IGNORE), torch.Generator())) == 0


def test_a_mixture_has_every_pixel_of_one_of_the_two():
    disparity, images = torch.rand(4, 5, 6), torch.rand(4, 3, 5, 6)
    partner = torch.tensor([1, 2, 3, 0])
    mask = depth_mask(disparity, disparity[partner])
    mixed = mix(mask, images, images[partner])
    assert torch.equal(mixed.movedim(1, -1)[mask], images.movedim(1, -1)[mask])
    assert torch.equal(mixed.movedim(1, -1)[~mask], images[partner].movedim(1, -1)[~mask])
    assert torch.equal(mix(mask, disparity, disparity[partner])[mask], disparity[mask])


def test_unlabelled_pixels_cost_nothing_and_still_count():
    logits = torch.randn(1, 3, 2, 2)
    labels = torch.tensor([[[0, IGNORE], [IGNORE, IGNORE]]])
    one = torch.nn.functional.cross_entropy(logits[:, :, 0, 0], labels[:, 0, 0])
    torch.testing.assert_close(mixed_cross_entropy(logits, labels, torch.tensor(0.5)), 0.5 * one / 4)

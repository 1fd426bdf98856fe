"""The fully supervised twin: mask terms by their formulas, and a batch of which nothing is labelled."""

import pytest
import torch
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st
from small_batches import ellipses, small_batch, small_network

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.supervision.config import FullConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.assignment import Positives
from depthbox.supervision.parts.instance_step import truth_masks
from depthbox.supervision.parts.mask_terms import mask_terms


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4))
def test_mask_terms_equal_the_plain_form(seed, n):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 5, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    targets, inside = (torch.rand(n, 5, 6, generator=rng) < 0.5 for _ in range(2))
    said = mask_terms(logits, targets.double(), inside)
    halves = mask_terms(logits, targets.double(), inside, torch.full_like(logits, 0.5).detach())
    torch.testing.assert_close(halves["mask_bce"] * 2, said["mask_bce"])
    assert torch.equal(halves["mask_dice"], said["mask_dice"])
    dice, bce = [], []
    for x, t, box in zip(logits.sigmoid(), targets.double(), inside, strict=True):
        dice.append(1 - 2 * (x * t).sum() / ((x * x).sum() + (t * t).sum() + 1e-5))
        bce.append(-(t * x.log() + (1 - t) * (1 - x).log())[box].sum() / box.sum().clamp(min=1))
    for name, parts in (("mask_dice", dice), ("mask_bce", bce)):
        torch.testing.assert_close(said[name], sum(parts, logits.new_zeros(())) / max(n, 1), rtol=1e-6, atol=1e-6)
    sum(said.values()).backward()
    assert torch.isfinite(logits.grad).all()


def test_golden_mask_loss(shared):
    said = golden_values(shared, "condinst_head")
    terms = mask_terms(said["mask_logits"][:, 0], said["gt_bitmasks"][:, 0], said["gt_bitmasks"][:, 0].bool())
    torch.testing.assert_close(terms["mask_dice"], said["condinst_loss_mask"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["condinst", "depth_guided"])
def test_every_parameter_learns(head):
    model, method = small_network(head), Full(FullConfig())
    losses = method.losses(model, small_batch(depth=False, masks=True), 0)
    weigh(losses.terms, method.weights, 0).backward()
    assert set(losses.terms) == {"class_focal", "box_giou", "box_quality", "mask_dice", "mask_bce"}
    assert all(torch.isfinite(t) and t > 0 for t in losses.terms.values())
    silent = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert set(silent) <= {"detector.scales", *(n for n, _ in model.named_parameters() if "pyramid.p" in n)}, silent


def test_the_true_mask_is_the_one_of_the_object_that_the_location_answers_for():
    boxes = torch.tensor([[4.0, 4.0, 40.0, 50.0], [50.0, 10.0, 90.0, 60.0]])
    batch = small_batch([boxes.tolist(), [], boxes.flip(0).tolist()], masks=True)
    image, owner = torch.tensor([0, 0, 2]), torch.tensor([1, 0, 1])
    zeros = torch.zeros(3, dtype=torch.int64)
    positives = Positives(
        image_index=image, point_index=zeros, object_index=owner, boxes_xyxy=torch.zeros(3, 4), labels=zeros
    )
    assert torch.equal(truth_masks(positives, batch.instances), ellipses(boxes[[1, 0, 0]])[:, 2::4, 2::4])


@pytest.mark.parametrize("masks", [True, False])
def test_a_batch_without_objects_trains_the_classifier_alone(masks):
    model, method = small_network(), Full(FullConfig())
    terms = method.losses(model, small_batch([(), ()], masks=masks), 0).terms
    assert terms["class_focal"] > 0 and all(terms[name] == 0 for name in terms if name != "class_focal")
    assert all(term.requires_grad for term in terms.values())
    weigh(terms, method.weights, 0).backward()
    assert model.detector.classify.weight.grad.any() and torch.isfinite(model.detector.classify.weight.grad).all()
    assert not model.controller.conv.weight.grad.any() and not model.detector.box.weight.grad.any()


def test_masks_are_needed():
    with pytest.raises(AssertionError, match="carries masks"):
        Full(FullConfig()).losses(small_network(), small_batch(masks=False), 0)


def test_a_misspelt_quality_is_refused():
    with pytest.raises(UsageError, match="box_quality='centreness': allowed are iou, centerness"):
        vary(FullConfig(), {"box_quality": "centreness"})

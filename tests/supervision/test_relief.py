"""Depth alone as a pseudo mask, as a term of `box_depth`."""

import math
from dataclasses import replace

import torch
from small_batches import OBJECTS, SIZE, ellipses, small_batch, small_network

from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.config import BoxDepthConfig, BoxDepthWeights
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.pseudo_masks import relief_bce
from depthbox.supervision.parts.relief import relief_targets


def method_of(*, depth: bool = True) -> BoxDepth:
    weights = BoxDepthWeights(depth_relief=1.0, relief_bce=1.0)
    return BoxDepth(BoxDepthConfig(weights=weights), steps=90, depth=depth, guided=True)


def test_the_term_is_there_with_disparity_and_teaches_the_masks():
    model, method = small_network(), method_of()
    losses = method.losses(model, small_batch(), 0)
    assert 0 < losses.terms["depth_relief"] <= 1 and set(losses.terms) == set(method.weights)
    for name in ("depth_relief", "relief_bce"):
        model.zero_grad()
        losses.terms[name].backward(retain_graph=True)
        assert model.controller.conv.weight.grad.any()
        assert name not in method_of(depth=False).weights


def test_a_batch_without_objects_has_the_term_and_a_graph():
    model, method = small_network(), method_of()
    losses = method.losses(model, small_batch([(), ()]), 0)
    assert losses.terms["depth_relief"] == losses.terms["relief_bce"] == 0
    weigh(losses.terms, method.weights, 50).backward()


def test_the_pixels_of_a_box_count_alike_and_those_outside_not_at_all():
    boxes = torch.zeros(3, 4, 6, dtype=torch.bool)
    boxes[:, :2, :3] = True
    targets = torch.where(boxes, 0.25, 0.0)
    logits = torch.where(boxes, 1.5, torch.randn(3, 4, 6)).requires_grad_()
    found = relief_bce(logits, targets, boxes, torch.tensor([1.0, 0.0, 0.5]))
    pixel = math.log1p(math.exp(1.5)) - 0.25 * 1.5
    assert torch.allclose(found, torch.tensor((1.0 + 0.5) * pixel / 2))
    found.backward()
    assert not logits.grad[~boxes].any() and not logits.grad[1].any() and logits.grad[0][boxes[0]].all()


def test_the_targets_are_the_objects_and_not_their_boxes():
    batch = small_batch()
    for boxes, found in zip(OBJECTS, relief_targets(batch.views, batch.instances), strict=True):
        truth = ellipses(torch.tensor(boxes))[:, 2::4, 2::4]
        trusted = found.confidence > 0.5
        assert found.masks.shape == (len(boxes), SIZE[0] // 4, SIZE[1] // 4) and trusted.any()
        both, either = ((found.masks > 0.5) & truth).sum((1, 2)), ((found.masks > 0.5) | truth).sum((1, 2))
        assert (both / either)[trusted].min() > 0.7


def test_what_stands_in_padding_is_not_believed():
    """A stream pads with NaN; finite values there must do the same."""
    batch = small_batch()
    valid = batch.views.valid.clone()
    valid[:, :, SIZE[1] // 2 :] = False
    padded = replace(batch.views, valid=valid)
    unknown = replace(padded, disparity=batch.views.disparity.masked_fill(~valid[:, None], torch.nan))
    for mine, wanted in zip(
        relief_targets(padded, batch.instances), relief_targets(unknown, batch.instances), strict=True
    ):
        assert torch.equal(mine.masks, wanted.masks) and torch.equal(mine.confidence, wanted.confidence)

"""Boxes and disparity as a method: no look at a mask, no crash on an empty batch, the same on any number of workers."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_batches import OBJECTS, small_batch, small_network
from two_ranks import found_by_rank, found_by_two

from depthbox.core.dist import mean_over_ranks
from depthbox.core.errors import UsageError
from depthbox.core.schedule import constant
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.build import build_method
from depthbox.supervision.config import BoxDepthConfig, BoxDepthWeights, DistillationConfig, FullConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.assignment import assign
from depthbox.supervision.parts.detection_terms import centerness, detection_terms
from depthbox.supervision.parts.teacher import Teacher

DETECTION = {"class_focal", "box_giou", "box_quality"}
GUIDED = DETECTION | {"projection", "box_prior", "color_affinity", "depth_affinity", "instance_depth"}
LATE = 10**6
"""A step when all warm-ups are over."""


def method_of(*, depth: bool = True, guided: bool = True, steps: int = 90, **settings) -> BoxDepth:
    return BoxDepth(BoxDepthConfig(**settings), steps=steps, depth=depth, guided=guided)


@pytest.mark.parametrize("form", ["difference", "plane"])
@pytest.mark.parametrize("quality", ["iou", "centerness"])
def test_every_term_trains_and_every_parameter_learns(form, quality):
    model, method = small_network(), method_of(depth_form=form, box_quality=quality)
    losses = method.losses(model, small_batch(), 0)
    weigh(losses.terms, method.weights, LATE).backward()
    assert set(losses.terms) == GUIDED == set(method.weights)
    assert all(torch.isfinite(t) and t > 0 for t in losses.terms.values())
    silent = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert set(silent) <= {"detector.scales", *(n for n, _ in model.named_parameters() if "pyramid.p" in n)}, silent
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert 0 < losses.figures["mask_box_ratio"] <= 1 and 0 < losses.figures["edges/depth_affinity"] <= 1


@pytest.mark.parametrize(
    "depth, guided, names",
    [
        (True, True, GUIDED),
        (True, False, GUIDED - {"instance_depth"}),
        (False, False, DETECTION | {"projection", "box_prior", "color_affinity"}),
    ],
)
def test_terms_exist_where_they_can_mean_something(depth, guided, names):
    method = method_of(depth=depth, guided=guided)
    losses = method.losses(small_network("depth_guided" if guided else "condinst"), small_batch(depth=depth), 0)
    assert set(losses.terms) == set(method.weights) == names


def test_box_depth_never_looks_at_a_mask():
    said = [method_of().losses(small_network(), small_batch(masks=masks), 50) for masks in (False, True)]
    for one, two in (("terms", "terms"), ("figures", "figures")):
        mine, theirs = getattr(said[0], one), getattr(said[1], two)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_batch_without_objects_trains_the_classifier_alone():
    model, method = small_network(), method_of()
    losses = method.losses(model, small_batch([(), ()]), 0)
    assert losses.terms["class_focal"] > 0
    assert all(term == 0 and term.requires_grad for name, term in losses.terms.items() if name != "class_focal")
    assert set(losses.figures) == {"edges/color_affinity", "edges/depth_affinity"}, "no box measures how full a box is"
    weigh(losses.terms, method.weights, LATE).backward()
    assert model.detector.classify.weight.grad.any() and not model.controller.conv.weight.grad.any()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_an_image_without_objects_costs_only_classification():
    model, method = small_network(), method_of()
    terms = method.losses(model, small_batch([OBJECTS[0], ()]), 0).terms
    alone = method.losses(model, small_batch([OBJECTS[0]]), 0).terms
    for name in GUIDED - {"class_focal"}:
        torch.testing.assert_close(terms[name], alone[name], rtol=1e-3, atol=1e-4)
    assert terms["class_focal"] > alone["class_focal"]


def test_unknown_disparity_everywhere_is_no_depth_supervision():
    model, method, batch = small_network(), method_of(), small_batch()
    batch = replace(batch, views=replace(batch.views, disparity=torch.full_like(batch.views.disparity, torch.nan)))
    terms = method.losses(model, batch, 0).terms
    assert terms["depth_affinity"] == terms["instance_depth"] == 0
    weigh(terms, method.weights, LATE).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_shares_of_active_edges_are_of_the_photo_and_not_of_its_padding():
    batch, method, model = small_batch(), method_of(), small_network()
    pad = (0, 32, 0, 64)
    views = batch.views
    wider = replace(
        views,
        weak=F.pad(views.weak, pad),
        strong=F.pad(views.strong, pad),
        disparity=F.pad(views.disparity, pad, value=torch.nan),
        valid=F.pad(views.valid, pad),
    )
    flat = replace(views, disparity=torch.full_like(views.disparity, 0.25), weak=torch.full_like(views.weak, 0.5))
    plain, padded, constant_ = (method.losses(model, replace(batch, views=v), 0).figures for v in (views, wider, flat))
    for name in ("edges/color_affinity", "edges/depth_affinity"):
        assert padded[name] == plain[name] and 0 < plain[name] < 1
        assert constant_[name] == 1


def test_the_student_sees_the_strong_view_and_the_terms_the_plain_one():
    seen, model, method = [], small_network(), method_of()

    def student(images, pick):
        seen.append(images)
        return model(images, pick)

    batch = small_batch()
    before = method.losses(student, batch, 0).terms
    assert len(seen) == 1 and seen[0] is batch.views.strong
    grey = replace(batch, views=replace(batch.views, weak=torch.full_like(batch.views.weak, 0.5)))
    after = method.losses(model, grey, 0).terms
    assert after["color_affinity"] != before["color_affinity"]
    assert all(torch.equal(after[name], before[name]) for name in GUIDED - {"color_affinity"})


def test_the_number_of_masks_an_image_is_bounded():
    batch = small_batch()
    many, few = (method_of(masks_per_image=n).losses(small_network(), batch, 0).terms for n in (64, 2))
    assert many["projection"] != few["projection"] and torch.equal(many["box_giou"], few["box_giou"])


def test_warm_ups_are_fractions_of_the_run():
    weights = method_of(steps=90, weights=BoxDepthWeights(depth_affinity=2.0, projection=0.5)).weights
    at = {step: {name: weights[name](step) for name in weights} for step in (0, 5, 10, 15, 20, 89)}
    assert [at[s]["color_affinity"] for s in at] == pytest.approx([0, 0.5, 1, 1, 1, 1])
    assert [at[s]["depth_affinity"] for s in at] == pytest.approx([0, 0, 0, 1, 2, 2])
    assert [at[s]["box_prior"] for s in at] == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])
    assert {at[s]["projection"] for s in at} == {0.5} and {at[s]["instance_depth"] for s in at} == {1.0}
    assert all(a <= b for a, b in pairwise(weights["depth_affinity"](s) for s in range(30)))


def test_a_weight_meets_its_loss_and_no_other():
    terms = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(3.0)}
    assert weigh(terms, {"a": constant(0.5), "b": lambda step: step}, 4) == 13
    for weights in (
        {"a": constant(1)},
        {"a": constant(1), "b": constant(1), "c": constant(1)},
        {"a": constant(1), "B": constant(1)},
    ):
        with pytest.raises(AssertionError, match="do not match"):
            weigh(terms, weights, 0)


def mixed_batch(words: tuple[str, str]):
    batch = small_batch(masks=True)
    shown = [
        one if word == "masks" else replace(one, masks=None) for word, one in zip(words, batch.instances, strict=True)
    ]
    return replace(batch, instances=shown, supervision=words)


def mixed_method():
    return build_method(BoxDepthConfig(), small_network(), steps=90, depth=True, words=("masks", "boxes"))


def test_images_with_masks_learn_from_them_and_the_others_from_their_boxes():
    """Each kind of term is what a batch of its kind alone says; detection is taught by both."""
    method, plain = mixed_method(), method_of()
    both = method.losses(small_network(), mixed_batch(("masks", "boxes")), 5).terms
    assert set(both) == set(method.weights) == GUIDED | {"pseudo_mask", "mask_dice", "mask_bce"}
    second = mixed_batch(("boxes", "boxes"))
    views = {name: getattr(second.views, name)[1:] for name in ("weak", "strong", "disparity", "valid")}
    alone = plain.losses(
        small_network(),
        replace(second, views=replace(second.views, **views), instances=second.instances[1:], supervision=()),
        5,
    ).terms
    for name in ("projection", "box_prior", "color_affinity", "depth_affinity"):
        torch.testing.assert_close(both[name], alone[name], rtol=1e-3, atol=1e-4)
    whole = plain.losses(small_network(), small_batch(), 5).terms
    for name in ("class_focal", "box_giou", "box_quality", "instance_depth"):
        torch.testing.assert_close(both[name], whole[name])
    assert both["mask_dice"] > 0 and both["mask_bce"] > 0


@pytest.mark.parametrize("words", [("masks", "masks"), ("boxes", "boxes")])
def test_a_step_may_hold_one_kind_alone(words):
    model, method = small_network(), mixed_method()
    terms = method.losses(model, mixed_batch(words), 50).terms
    weigh(terms, method.weights, 50).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    silent = (
        {"projection", "box_prior", "color_affinity", "depth_affinity"}
        if "masks" in words
        else {"mask_dice", "mask_bce"}
    )
    assert {name for name, term in terms.items() if term == 0} - {"pseudo_mask"} == silent


def test_a_method_is_built_from_its_configuration():
    assert isinstance(build_method(FullConfig(), small_network(), steps=9, depth=False), Full)
    assert set(build_method(BoxDepthConfig(), small_network("condinst"), steps=9, depth=True).weights) == GUIDED - {
        "instance_depth"
    } | {"pseudo_mask"}
    with pytest.raises(UsageError, match=r"model\.mask_head=depth_guided learns from disparity"):
        build_method(BoxDepthConfig(), small_network(), steps=9, depth=False)


def test_detection_terms_by_hand():
    """One location, one object: focal, gIoU and quality as their papers write them."""
    model = small_network()
    with torch.no_grad():
        dense = model(small_batch().views.strong).dense
    batch = small_batch()
    positives = assign(dense, batch.instances)
    assert len(positives.labels) > 5
    terms = detection_terms(dense, positives, quality="iou")
    p = dense.class_logits.sigmoid()
    focal = 0.75 * p**2 * -(1 - p).log()
    iou = []
    giou = 0.0
    for image, point, box, label in zip(
        positives.image_index, positives.point_index, positives.boxes_xyxy, positives.labels, strict=True
    ):
        q = p[image, point, label]
        focal[image, point, label] = 0.25 * (1 - q) ** 2 * -q.log()
        x0, y0, x1, y1 = dense.boxes_xyxy[image, point].tolist()
        bx0, by0, bx1, by1 = box.tolist()
        shared = max(0, min(x1, bx1) - max(x0, bx0)) * max(0, min(y1, by1) - max(y0, by0))
        union = (x1 - x0) * (y1 - y0) + (bx1 - bx0) * (by1 - by0) - shared
        hull = (max(x1, bx1) - min(x0, bx0)) * (max(y1, by1) - min(y0, by0))
        iou.append(shared / union)
        giou += 1 - (shared / union - (hull - union) / hull)
    logits = dense.quality_logits[positives.image_index, positives.point_index]
    quality = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(iou))
    n = len(iou)
    torch.testing.assert_close(terms["class_focal"], focal.sum() / n, rtol=1e-4, atol=1e-5)
    assert terms["box_giou"].item() == pytest.approx(giou / n, rel=1e-4)
    torch.testing.assert_close(terms["box_quality"], quality, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(0, 1, n)
    focal *= 0.3
    where = (positives.image_index, positives.point_index)
    focal[where] = focal[where] / 0.3 * weights[:, None]
    weighed = detection_terms(dense, positives, quality="iou", background=0.3, class_weights=weights)
    torch.testing.assert_close(weighed["class_focal"], focal.sum() / n, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(weighed[name], terms[name]) for name in ("box_giou", "box_quality"))


def test_centerness_is_1_in_the_middle_and_0_at_the_edge():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).expand(4, 4)
    points = torch.tensor([[5.0, 10.0], [0.0, 10.0], [2.5, 10.0], [2.5, 5.0]])
    assert centerness(points, boxes).tolist() == pytest.approx([1, 0, (1 / 3) ** 0.5, 1 / 3])


def half(number: int | None) -> tuple[dict[str, float], torch.Tensor]:
    """Mean over workers of each term and of a gradient, from image `number` of the batch (None: from both)."""
    model, batch = small_network(), small_batch()
    if number is not None:
        views = {
            name: getattr(batch.views, name)[number : number + 1] for name in ("weak", "strong", "disparity", "valid")
        }
        batch = replace(batch, views=replace(batch.views, **views), instances=batch.instances[number : number + 1])
    torch.nn.init.constant_(model.detector.classify.bias, 1.0)
    config = BoxDepthConfig(distillation=DistillationConfig(threshold=0.0))
    teacher = Teacher(model, start=0, keep=0.9)
    method = BoxDepth(config, steps=90, depth=True, guided=True, teacher=teacher)
    terms = method.losses(model, batch, 0).terms
    weigh(terms, method.weights, LATE).backward()
    return {name: mean_over_ranks(t).item() for name, t in terms.items()}, mean_over_ranks(
        model.controller.conv.weight.grad
    )


def test_two_workers_with_unequal_images_equal_one(tmp_path):
    """Three objects on one worker, one on the other: a mean is over the global batch, a gradient as DDP averages it."""
    (terms, gradient), (other, _) = found_by_two(__file__, half, tmp_path)
    wanted, wanted_gradient = half(None)
    assert wanted["pseudo_mask"] > 0
    assert terms == other
    assert terms == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    found_by_rank(half, 0, Path(sys.argv[1]))

"""PL-DC with a detector: what masks, boxes and pseudo labels teach it, and the rule of empty batches."""

from dataclasses import replace

import pytest
import torch
from mixed_batches import mixed_batch
from small_batches import OBJECTS, small_batch, small_network

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.models.predict import predict
from depthbox.supervision.box_depth import BoxDepth
from depthbox.supervision.build import build_method
from depthbox.supervision.config import BoxDepthConfig, FullConfig, PlDcConfig
from depthbox.supervision.full import Full
from depthbox.supervision.method import Classes, weigh
from depthbox.supervision.parts.assignment import Positives
from depthbox.supervision.parts.looks import look
from depthbox.supervision.parts.pseudo_labels import PseudoLabels
from depthbox.supervision.parts.teaching import Taught
from depthbox.supervision.pl_dc_detector import PlDcDetector, _of_objects
from depthbox.supervision.refused import check_method

STEPS, START = 18, 6
CONFIG = vary(
    PlDcConfig(),
    {"burn_in": START / STEPS, "class_threshold": 0.0, "mask_threshold": 0.0, "boxed.warm_up": 0.1},
)
"""Everything the teacher says is believed."""
KINDS = ("masks", "boxes", "none")


def method_of(student, words=("masks", "none"), depth=False, **settings) -> PlDcDetector:
    config = vary(CONFIG, settings if "boxes" in words else {"boxed.warm_up": 1 / 9} | settings)
    classes = Classes(objects=(5, 3, 2), images=4)
    method = build_method(config, student, steps=STEPS, depth=depth, words=words, classes=classes)
    assert isinstance(method, PlDcDetector)
    return method


def confident(words=("masks", "none"), depth=False, **settings):
    """A student whose teacher says something."""
    student = small_network("condinst")
    with torch.no_grad():
        student.detector.classify.bias[1] += 3.0
    return student, method_of(student, words, depth, **settings)


def test_before_the_burn_in_is_over_unlabelled_images_teach_nothing():
    student, method = confident()
    early, late = (method.losses(student, mixed_batch(), step) for step in (START - 1, START))
    pseudo = {name for name in method.weights if name.startswith("pseudo_")}
    assert len(pseudo) == 5 and set(late.terms) == set(early.terms) == set(method.weights)
    assert all(early.terms[name] == 0 and early.terms[name].requires_grad for name in pseudo) and not early.figures
    assert all(late.terms[name] > 0 for name in pseudo) and late.figures["pseudo/kept_an_image"] > 0
    assert late.figures["pseudo/kept_to_labelled"] == late.figures["pseudo/kept_an_image"] / 2.5
    weigh(late.terms, method.weights, START).backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    assert method.evaluated(student, START) is method.modules()["teacher"].model


def test_labels_teach_what_they_teach_alone():
    """The three kinds in one step: images with masks as in `full`, those with boxes as in `box_depth`, both as one set of detections."""
    student, method = confident(KINDS, depth=True)
    batch = mixed_batch(KINDS, depth=True)
    terms = method.losses(student, batch, 0).terms
    seen = replace(
        batch,
        views=replace(
            batch.views,
            strong=torch.cat([view[i : i + 1] for i in (0, 1) for view in (batch.views.weak, batch.views.strong)]),
            weak=batch.views.weak[[0, 0, 1, 1]],
            disparity=batch.views.disparity[[0, 0, 1, 1]],
            valid=batch.views.valid[[0, 0, 1, 1]],
        ),
        instances=[batch.instances[i] for i in (0, 0, 1, 1)],
        supervision=("masks", "masks", "boxes", "boxes"),
    )
    settings = {"warm_up": 0.1, "distillation.start": 1.0}
    alone = BoxDepth(vary(BoxDepthConfig(), settings), steps=STEPS, depth=True, guided=False, mixed=True)
    asked = alone.losses(student, seen, 0).terms
    assert set(asked) < set(terms)
    for name, value in asked.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)


def test_masks_alone_are_full_supervision():
    student, method = confident()
    terms = method.losses(student, mixed_batch(("masks",)), 0).terms
    batch = mixed_batch(("masks",))
    both = replace(
        batch,
        views=replace(batch.views, strong=torch.cat((batch.views.weak, batch.views.strong))),
        instances=list(batch.instances) * 2,
    )
    for name, value in Full(FullConfig()).losses(student, both, 0).terms.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)


def test_pseudo_labels_are_the_teachers_boxes_and_masks():
    """What the student's own view would say of the teacher's detections, were they labels: with masks that nobody weighs."""
    student, method = confident(uncertainty=False, category="off", min_pixels=0)
    batch = mixed_batch(("none", "none"))
    views = batch.views
    said = look(student.eval(), views, torch.arange(2))
    same = predict(student, views.weak)
    for at, found in enumerate(same):
        boxes = said.candidates(at)
        assert len(boxes.labels) and {tuple(b) for b in boxes.boxes_xyxy.tolist()} <= {
            tuple(b) for b in found.boxes_xyxy.tolist()
        }
        torch.testing.assert_close(boxes.logits[0].sigmoid(), found.masks[0])
    terms = method.losses(student, batch, START).terms
    labels = [
        replace(one, boxes_xyxy=boxes.boxes_xyxy[kept], labels=boxes.labels[kept], masks=masks[kept])
        for one, boxes in ((batch.instances[0], said.candidates(at)) for at in range(2))
        for masks in [boxes.logits.gt(0).repeat_interleave(4, 1).repeat_interleave(4, 2)]
        for kept in [masks.flatten(1).any(1)]
    ]
    asked = Full(FullConfig()).losses(student, replace(batch, instances=labels), 0).terms
    theirs = {"class_focal": "class", "box_giou": "box", "box_quality": "quality", "mask_dice": "mask_dice"}
    for name, other in (theirs | {"mask_bce": "mask_bce"}).items():
        torch.testing.assert_close(terms[f"pseudo_{other}"], asked[name], rtol=1e-4, atol=1e-5)


def test_no_pseudo_label_teaches_no_background():
    student, method = confident(class_threshold=1.0)
    losses = method.losses(student, mixed_batch(), START)
    assert losses.figures["pseudo/kept_an_image"] == 0
    assert losses.terms["pseudo_class"] == 0 and losses.terms["pseudo_class"].requires_grad
    assert losses.terms["class_focal"] > 0


def test_unlabelled_images_need_not_teach_background():
    student, plain = confident()
    quiet = method_of(student, **{"detector.pseudo_background": 0.0})
    all_terms, silent = (m.losses(student, mixed_batch(), START).terms for m in (plain, quiet))
    assert all(torch.equal(all_terms[name], silent[name]) for name in silent if name != "pseudo_class")
    assert 0 < silent["pseudo_class"] < all_terms["pseudo_class"]


def test_only_the_bce_is_weighed_by_certainty():
    student, method = confident()
    plain = method_of(student, uncertainty=False)
    a, b = (m.losses(student, mixed_batch(), START).terms for m in (method, plain))
    assert a["pseudo_mask_bce"] < b["pseudo_mask_bce"]
    assert all(torch.equal(a[name], b[name]) for name in a if name != "pseudo_mask_bce")


def test_masks_end_where_the_photo_does():
    student, _ = confident()
    views = small_batch([OBJECTS[0]]).views
    views.valid[:, :, 48:] = False
    found = look(student.eval(), views, torch.arange(1)).candidates(0)
    assert (found.logits[:, :, 12:] < 0).all() and (found.logits > 0).any()
    assert found.boxes_xyxy[:, 2].max() == 48, "boxes too"


@pytest.mark.parametrize("words", [("masks", "masks"), ("none", "none"), ("none",), ("boxes",), KINDS])
@pytest.mark.parametrize("step", [0, START])
def test_a_rank_may_be_dealt_one_kind_alone(words, step):
    student, method = confident(KINDS, depth=True)
    losses = method.losses(student, mixed_batch(words, depth=True), step)
    assert set(losses.terms) == set(method.weights)
    weigh(losses.terms, method.weights, step).backward()
    assert all(torch.isfinite(term) for term in losses.terms.values())
    # All of them, or DDP waits for what does not come.
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.requires_grad)


@pytest.mark.parametrize("source", ["color", "depth"])
def test_pseudo_masks_are_held_to_colour_and_disparity_where_it_is_asked_for(source):
    name = f"pseudo_{source}_affinity"
    student, method = confident(depth=True, **{f"detector.weights.{name}": 0.5})
    early, late = (method.losses(student, mixed_batch(depth=True), step) for step in (START - 1, START))
    assert set(late.terms) == set(method.weights) and name in late.terms
    assert early.terms[name] == 0 and early.terms[name].requires_grad and late.terms[name] > 0


def test_depth_keeps_fewer():
    said = {}
    for threshold in (0.0, 0.999):
        student, method = confident(depth=True, depth_form="B", depth_threshold=threshold)
        said[threshold] = method.losses(student, mixed_batch(depth=True), START).figures["pseudo/kept_an_image"]
    assert said[0.999] < said[0.0]


@pytest.mark.parametrize(
    ("settings", "mask_head", "said"),
    [
        ({"weights.pseudo_class": 1.0}, "condinst", "of model.head=query; see method.detector"),
        ({"query.no_object": 0.2}, "condinst", "of model.head=query; see method.detector"),
        ({"pseudo_no_object": 0.0}, "condinst", "of model.head=query; see method.detector"),
        ({"detector.weights.projection": 2.0}, "condinst", "method.detector.weights.projection=2.0 has no effect"),
        ({"detector.masks_per_image": 0}, "condinst", "method.detector.masks_per_image=0"),
        ({"detector.weights.mask_bce": -1.0}, "condinst", "method.detector.weights.mask_bce=-1.0"),
        ({}, "depth_guided", "set model.mask_head=condinst"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, mask_head, said):
    with pytest.raises(UsageError, match=said):
        config = vary(PlDcConfig(), {"class_threshold": 0.3} | settings)
        check_method(config, depth=False, mask_head=mask_head, head="dynamic")


def test_thresholds_of_queries_are_refused():
    with pytest.raises(UsageError, match=r"set method\.class_threshold=0\.35"):
        check_method(PlDcConfig(), depth=False, mask_head="condinst", head="dynamic")
    check_method(vary(PlDcConfig(), {"burn_in": 1.0}), depth=False, mask_head="condinst", head="dynamic")


def test_the_settings_of_the_detector_are_not_of_queries():
    config = vary(PlDcConfig(), {"detector.masks_per_image": 8})
    with pytest.raises(UsageError, match=r"method\.detector=.* is of model\.head=dynamic; see method\.weights"):
        check_method(config, depth=False, mask_head="condinst", head="query")


def test_a_class_that_is_not_sure_is_not_taught():
    student, plain = confident()
    careful, silent = (method_of(student, **{"detector.class_from": share}) for share in (0.7, 1.0))
    batch = mixed_batch()
    terms, some, none = (m.losses(student, batch, START).terms for m in (plain, careful, silent))
    assert all(torch.equal(terms[name], none[name]) for name in none if name != "pseudo_class")
    assert 0 < none["pseudo_class"] < terms["pseudo_class"]
    teacher, _ = confident()
    shares = [look(teacher.eval(), batch.views, torch.tensor([i])) for i in (1, 2)]
    said = torch.cat([one.probabilities(0, one.candidates(0).query).amax(1) for one in shares])
    assert (said >= 0.7).any() == (some["pseudo_class"] > none["pseudo_class"]).item()


def test_a_positive_learns_from_the_label_it_answers_for():
    def kept(first: int, number: int) -> PseudoLabels:
        values = torch.arange(first, first + number)
        return PseudoLabels(
            query=values,
            labels=values,
            class_quality=values.float(),
            mask_quality=values.float(),
            logits=torch.zeros(number, 2, 2),
            class_share=values.float(),
        )

    taught = Taught(kept=[kept(0, 2), kept(2, 0), kept(2, 3)], figures={})
    image, owner = torch.tensor([0, 0, 2, 2]), torch.tensor([1, 0, 2, 0])
    zeros = torch.zeros(4, dtype=torch.int64)
    positives = Positives(
        image_index=image, point_index=zeros, object_index=owner, boxes_xyxy=torch.zeros(4, 4), labels=zeros
    )
    assert _of_objects(positives, taught, "class_share").tolist() == [1, 0, 4, 2]

"""The semi-supervised method: burn-in, what the teacher teaches, the rule of empty batches, and figures against the truth."""

from dataclasses import replace

import pytest
import torch
from mixed_batches import mixed_batch
from query_network import query_network
from small_batches import small_batch

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.recipes import guided_distillation
from depthbox.supervision.build import build_method
from depthbox.supervision.config import FullConfig, PlDcConfig
from depthbox.supervision.full_query import FullQuery
from depthbox.supervision.method import Classes, weigh
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.pl_dc import PlDc
from depthbox.supervision.semi_supervised import split

STEPS, START = 18, 6
CONFIG = vary(
    PlDcConfig(),
    {"query.points.number": 64, "burn_in": START / STEPS, "class_threshold": 0.0, "mask_threshold": 0.0},
)
"""Everything the teacher says is believed."""
LARGE = 2400
"""Pixels that some of its masks do not have."""


def method_of(student, words=(), depth=True, **settings) -> PlDc:
    classes = Classes(objects=(5, 3, 2))
    method = build_method(vary(CONFIG, settings), student, steps=STEPS, depth=depth, words=words, classes=classes)
    assert isinstance(method, PlDc)
    return method


def confident(**settings):
    """A student whose teacher says something."""
    student = query_network()
    with torch.no_grad():
        student.decoder.classify.bias[0] += 4.0
    return student, method_of(student, **settings)


def test_the_words_of_a_batch_are_split():
    masked, boxed, unlabelled = split(mixed_batch(("none", "masks", "boxes")))
    assert (masked.tolist(), boxed.tolist(), unlabelled.tolist()) == ([1], [2], [0])
    assert split(replace(mixed_batch(), supervision=()))[0].tolist() == [0, 1, 2]


def test_before_the_burn_in_is_over_unlabelled_images_teach_nothing():
    student, method = confident()
    early, late = (method.losses(student, mixed_batch(), step) for step in (START - 1, START))
    pseudo = {"pseudo_class", "pseudo_mask_bce", "pseudo_mask_dice"}
    assert all(early.terms[name] == 0 and early.terms[name].requires_grad for name in pseudo) and not early.figures
    assert all(late.terms[name] > 0 for name in pseudo) and late.figures["pseudo/kept_an_image"] > 0
    assert set(late.terms) == set(method.weights)
    weigh(late.terms, method.weights, START).backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    assert method.evaluated(student, START - 1) is student
    assert method.evaluated(student, START) is method.modules()["teacher"].model


def test_labelled_images_learn_from_both_views():
    student, method = confident()
    seen = []
    student.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    batch = mixed_batch()
    method.losses(student, batch, 0)
    assert len(seen) == 1 and torch.equal(seen[0], torch.stack((batch.views.weak[0], batch.views.strong[0])))
    method.losses(student, batch, START)
    assert torch.equal(seen[-1][2:], batch.views.strong[1:])


def test_the_truth_is_never_looked_at_by_a_loss():
    student, method = confident()
    batch = mixed_batch()
    blind = replace(batch, truth=())
    with_truth, without = (method.losses(student, b, START) for b in (batch, blind))
    assert all(torch.equal(with_truth.terms[name], without.terms[name]) for name in with_truth.terms)
    known = {"pseudo/precision", "pseudo/precision_of_masks", "pseudo/precision_uncorrected", "pseudo/recall"}
    assert set(with_truth.figures) - set(without.figures) == known


def test_no_pseudo_label_teaches_no_background():
    student, method = confident(class_threshold=1.0)
    losses = method.losses(student, mixed_batch(), START)
    assert losses.figures["pseudo/kept_an_image"] == 0
    assert losses.terms["pseudo_class"] == 0 and losses.terms["pseudo_class"].requires_grad
    assert losses.terms["query_class"] > 0


def test_unlabelled_images_need_not_teach_background():
    student, _ = confident()
    with torch.no_grad():
        student.decoder.classify.weight.zero_()
    method, quiet = (method_of(student, min_pixels=LARGE, pseudo_no_object=said) for said in (0.1, 0.0))
    plain, silent = (one.losses(student, mixed_batch(), START).terms for one in (method, quiet))
    assert all(torch.equal(plain[name], silent[name]) for name in plain if name != "pseudo_class")
    # Every query says the same, so a mean over the pairs alone is that of any of them, in each layer.
    said = student.decoder.classify.bias.log_softmax(0)
    layers = student(mixed_batch().views.weak).class_logits.shape[0]
    torch.testing.assert_close(silent["pseudo_class"], -layers * said[0])
    nothing = -said[-1] * layers
    assert silent["pseudo_class"] < plain["pseudo_class"] < nothing


@pytest.mark.parametrize("words", [("masks", "masks"), ("none", "none"), ("none",)])
@pytest.mark.parametrize("step", [0, START])
def test_a_rank_may_be_dealt_one_kind_alone(words, step):
    student, method = confident()
    losses = method.losses(student, mixed_batch(words), step)
    weigh(losses.terms, method.weights, step).backward()
    assert all(torch.isfinite(term) for term in losses.terms.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in student.parameters())


def test_only_the_bce_is_weighed_by_certainty():
    student, method = confident()
    plain = PlDc(vary(method.config, {"uncertainty": False}), student, steps=STEPS)
    a, b = (m.losses(student, mixed_batch(), START).terms for m in (method, plain))
    assert a["pseudo_mask_bce"] < b["pseudo_mask_bce"]
    assert all(torch.equal(a[name], b[name]) for name in a if name != "pseudo_mask_bce")


@pytest.mark.parametrize("form", ["A", "B"])
def test_depth_keeps_fewer(form):
    student, method = confident(depth_form=form, depth_threshold=0.999)
    assert method.losses(student, mixed_batch(depth=True), START).figures["pseudo/kept_an_image"] == 0
    student, method = confident(depth_form=form, depth_threshold=0.0)
    assert method.losses(student, mixed_batch(depth=True), START).figures["pseudo/kept_an_image"] > 0


def test_cut_outs_and_relief_serve_queries():
    ours = {"category": "cut_outs", "depth_form": "relief", "depth_threshold": 0.0, "depth_refine": True}
    student, method = confident(pseudo_nms_iou=0.9, **ours)
    for step in range(START, START + 12):
        losses = method.losses(student, mixed_batch(depth=True), step)
    assert losses.terms["pseudo_mask_bce"] > 0 and losses.figures["pseudo/kept_an_image"] > 0
    bank = method.modules()["category"]
    assert bank.number.sum() > 20 and bank.probabilities(torch.zeros(1, bank.width)).isfinite().any()


def test_a_mask_where_no_disparity_is_known_is_not_judged_by_it():
    student, method = confident(depth_form="B", depth_threshold=0.999)
    batch = mixed_batch(depth=True)
    assert method.losses(student, batch, START).figures["pseudo/kept_an_image"] == 0
    nowhere = torch.full_like(batch.views.disparity, torch.nan)
    blind = replace(batch, views=replace(batch.views, disparity=nowhere))
    plain = confident()[1].losses(student, batch, START).figures["pseudo/kept_an_image"]
    assert method.losses(student, blind, START).figures["pseudo/kept_an_image"] == plain > 0


@pytest.mark.parametrize(
    "how", [*({"adapt_on": on, "lowest": (0, 0), "floors": (0, 0)} for on in ("all", "kept")), {"adapt_on": "counts"}]
)
def test_thresholds_and_prototypes_are_part_of_the_checkpoint(how):
    student, method = confident(**how)
    for step in (START - 1, START, START + 1):
        method.losses(student, mixed_batch(), step)
    state = {name: module.state_dict() for name, module in method.modules().items()}
    assert set(state) == {"teacher", "thresholds", "category"}
    assert all(value.any() for value in state["thresholds"].values()) and state["category"]["seen"].any()
    other = method_of(student, **how)
    for name, module in other.modules().items():
        module.load_state_dict(state[name])
    a, b = (m.losses(student, mixed_batch(), START + 2) for m in (method, other))
    assert all(torch.equal(a.terms[name], b.terms[name]) for name in a.terms)


def test_the_teacher_follows_from_the_burn_in_on():
    student, method = confident()
    teacher = method.modules()["teacher"]
    assert isinstance(teacher, Teacher)
    with torch.no_grad():
        student.decoder.classify.bias += 1
    method.after_step(student, START - 2)
    assert not torch.equal(teacher.model.decoder.classify.bias, student.decoder.classify.bias)
    method.after_step(student, START - 1)
    assert torch.equal(teacher.model.decoder.classify.bias, student.decoder.classify.bias)


def test_without_an_end_of_the_burn_in_there_is_no_teacher():
    student = query_network()
    method = method_of(student, burn_in=1.0)
    assert method.modules() == {} and method.evaluated(student, STEPS) is student


def test_guided_distillation_is_the_same_method_with_one_quality():
    config = guided_distillation().method
    assert isinstance(config, PlDcConfig) and (config.kept_by, config.category) == ("class", "off")
    assert config.weights.pseudo_class == 2 * PlDcConfig().weights.pseudo_class


KINDS = ("masks", "boxes", "none")


@pytest.mark.parametrize("depth", [True, False])
def test_three_kinds_of_images_teach_in_one_step(depth):
    student, method = confident(words=KINDS, depth=depth)
    seen = []
    student.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    batch = mixed_batch(KINDS, depth=depth)
    losses = method.losses(student, batch, START)
    assert set(losses.terms) == set(method.weights)
    boxed = {"boxed_class", "projection", "box_prior", "color_affinity"} | ({"depth_affinity"} if depth else set())
    assert set(losses.terms) - set(confident()[1].weights) == boxed
    assert all(losses.terms[name] > 0 for name in boxed | {"query_bce", "pseudo_mask_bce"})
    weak, strong = batch.views.weak, batch.views.strong
    assert torch.equal(seen[0], torch.stack((weak[0], strong[0], weak[1], strong[1], strong[2])))
    sum(losses.terms[name] for name in boxed).backward()
    silent = [n for n, p in student.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert all(name.endswith("key.bias") for name in silent), silent


def test_boxes_alone_change_nothing_of_what_masks_and_pseudo_labels_say():
    student, method = confident()
    plain = method.losses(student, mixed_batch(("masks", "none")), START).terms
    mixed = method_of(student, words=KINDS, depth=False)
    batch = mixed_batch(("masks", "boxes", "none"))
    pair = mixed_batch(("masks", "none"))
    views = {name: getattr(pair.views, name)[[0, 0, 1]] for name in ("weak", "strong", "valid")}
    batch = replace(
        batch,
        views=replace(batch.views, **views),
        instances=[pair.instances[0], replace(pair.instances[0], masks=None), pair.instances[1]],
        image_ids=(0, 5, 1),
    )
    both = mixed.losses(student, batch, START).terms
    for name, value in plain.items():
        torch.testing.assert_close(both[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", ["color", "depth"])
def test_pseudo_masks_are_held_to_colour_and_disparity_where_it_is_asked_for(source):
    name = f"pseudo_{source}_affinity"
    student, method = confident(**{f"weights.{name}": 0.5})
    batch = mixed_batch(depth=True)
    early, late = (method.losses(student, batch, step) for step in (START - 1, START))
    assert set(late.terms) - set(confident()[1].weights) == {name} and set(late.terms) == set(method.weights)
    assert early.terms[name] == 0 and early.terms[name].requires_grad and late.terms[name] > 0
    assert method.weights[name](START) == 0 < method.weights[name](STEPS - 1)
    late.terms[name].backward()
    assert student.decoder.embed[0].weight.grad.any() and student.decoder.classify.weight.grad is None


def test_full_supervision_of_the_query_head():
    student = query_network()
    method = build_method(FullConfig(), student, steps=9, depth=False)
    assert isinstance(method, FullQuery)
    losses = method.losses(student, small_batch(masks=True, depth=False), 0)
    assert set(losses.terms) == set(method.weights)
    weigh(losses.terms, method.weights, 0).backward()
    silent = [n for n, p in student.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert all(name.endswith("key.bias") for name in silent), silent


def test_a_picked_start_learns_where_from_the_labelled_images():
    student = query_network(**{"query.start": "picked"})
    method = method_of(student)
    for words in (("masks", "none", "none"), ("none", "none")):
        losses = method.losses(student, mixed_batch(words), START)
        assert set(losses.terms) == set(method.weights) and "query_start" in losses.terms
        assert bool(losses.terms["query_start"] > 0) == ("masks" in words) and losses.terms["query_start"].requires_grad


def test_pseudo_masks_teach_where_objects_are_where_it_is_asked_for():
    student = query_network(**{"query.start": "picked"})
    with torch.no_grad():
        student.decoder.classify.bias[0] += 4.0
    method = method_of(student, min_pixels=LARGE, **{"weights.pseudo_start": 1.0})
    early, late = (method.losses(student, mixed_batch(), step) for step in (START - 1, START))
    assert set(late.terms) == set(method.weights) and "pseudo_start" not in method_of(student).weights
    assert early.terms["pseudo_start"] == 0 and early.terms["pseudo_start"].requires_grad
    assert late.figures["pseudo/kept_an_image"] > 0 and late.terms["pseudo_start"] > 0
    late.terms["pseudo_start"].backward()
    # Class 0 is all the teacher says, and no cell is taught that it holds nothing.
    gradient = student.decoder.start.classify.bias.grad
    assert gradient[0] < 0 < gradient[-1]


def test_only_picked_queries_learn_where_objects_are():
    with pytest.raises(UsageError, match=r"set model\.query\.start=picked"):
        method_of(query_network(), **{"weights.pseudo_start": 1.0})


def test_adaptive_thresholds_start_from_the_labelled_data_even_without_a_burn_in():
    how = {"adapt_on": "all", "class_threshold": 0.8, "mask_threshold": 0.8, "lowest": (0.4, 0.4)}
    method = method_of(query_network(), burn_in=0.0, **how)
    said = method.modules()["thresholds"].of(torch.arange(3))[0]
    torch.testing.assert_close(said, torch.tensor([0.6, 0.6, 0.6]))
    method = method_of(query_network(), floors=(0.0, 0.0), **how)
    said = method.modules()["thresholds"].of(torch.arange(3))[0]
    torch.testing.assert_close(said, torch.tensor([0.6, 0.52, 0.48]))

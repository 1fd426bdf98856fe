"""When a teacher of pixels is believed, and how much: the burn-in, and the truth that vouches for nobody."""

import pytest
import torch
from dense_batches import dense_batch, dense_network, sure_teacher

from depthbox.core.errors import UsageError
from depthbox.supervision.build import build_ssda
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.parts.mixing_step import Words
from depthbox.supervision.parts.teacher import Teacher

PLAIN = DepthSsdaConfig(mixing="none")
HALF = ("labels", "none", "labels", "none")
DOMAINS = ("labels", "none", "source", "source")


def method(config: DepthSsdaConfig, *, source: bool = False):
    student = dense_network()
    return student, build_ssda(config, student, depth=True, source=source, steps=10)


def test_mixtures_teach_from_the_end_of_the_burn_in_on():
    student, built = method(DepthSsdaConfig(burn_in=0.3))
    batch = dense_batch(HALF)
    early, late = (built.losses(student, batch, step) for step in (2, 3))
    assert early.terms["mixed_ce"] == 0 and early.terms["mixed_ce"].requires_grad and not early.figures
    assert late.terms["mixed_ce"] > 0 and set(early.terms) == set(late.terms) == set(built.weights)
    plain = method(PLAIN)[1].losses(student, batch, 2).terms["labelled_ce"]
    torch.testing.assert_close(early.terms["labelled_ce"], plain)
    teacher = built.modules()["teacher"]
    assert isinstance(teacher, Teacher)
    with torch.no_grad():
        student.classifier.bias += 1
    built.after_step(student, 1)
    assert not torch.equal(teacher.model.classifier.bias, student.classifier.bias)
    built.after_step(student, 2)
    assert torch.equal(teacher.model.classifier.bias, student.classifier.bias)


def test_a_burn_in_of_the_whole_run_is_refused():
    with pytest.raises(UsageError, match=r"method\.burn_in=1\.0: allowed is from 0 to below 1"):
        method(DepthSsdaConfig(burn_in=1.0))
    with pytest.raises(UsageError, match=r"method\.burn_in=0\.5 is of mixtures"):
        method(DepthSsdaConfig(mixing="none", burn_in=0.5))


@torch.no_grad()
def test_the_truth_need_not_vouch_for_the_teacher():
    """A teacher sure of everything, of nothing, and of one unlabelled image of two."""
    _, built = method(DepthSsdaConfig(trust="teacher", confidence=0.6, cross_domain=True), source=True)
    sure_teacher(built, 1, logit=9.0)
    batch = dense_batch(DOMAINS)
    found, figures = built.mixing(batch, Words.of(batch), 0)
    both, across = found["mixed_ce"], found["cross_domain_ce"]
    assert both.q == across.q == figures["mixed/q"] == 1 and (both.weight == 1).all() and (across.weight == 1).all()
    sure_teacher(built, 1, logit=0.5)
    found, _ = built.mixing(batch, Words.of(batch), 0)
    both, across = found["mixed_ce"], found["cross_domain_ce"]
    assert both.q == across.q == 0, "nothing that the teacher says is sure"
    assert torch.equal(both.weight, torch.stack((both.mask[0], ~both.mask[1])).float()), (
        "the truth is as true as before"
    )
    assert torch.equal(across.weight[0], torch.ones_like(across.weight[0])), "a source in front of a labelled target"
    assert torch.equal(across.weight[1], across.mask[1].float())
    halves = dense_batch(("labels", "none", "none"))
    _, plain = method(DepthSsdaConfig(trust="teacher"))
    student = dense_network()
    plain.mixing.model.class_logits = lambda images: (
        student.class_logits(images) * torch.tensor([1e4, 0.0]).view(2, 1, 1, 1)
    )
    found = plain.mixing(halves, Words.of(halves), 0)[0]["mixed_ce"]
    told = found.pixels.told
    sure = (found.pixels.confidence >= 0.968) & told
    assert found.q == sure.sum() / told.sum() and 0 < found.q < 1
    assert torch.equal(found.weight, torch.where(told, found.q, torch.ones(())))
    labelled = dense_batch(("labels", "labels"))
    assert (plain.mixing(labelled, Words.of(labelled), 0)[0]["mixed_ce"].weight == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("step", [0, 1])
def test_images_without_labels_can_meet_among_themselves(step: int):
    """Then no truth is mixed, and q is the teacher's share alone; who is labelled and what of it is true has no part in it."""
    _, built = method(DepthSsdaConfig(mixed_images="unlabelled", confidence=0.6))
    sure_teacher(built, 1, logit=0.5)
    batch = dense_batch(HALF)
    found, figures = built.mixing(batch, Words.of(batch), step)
    both = found["mixed_ce"]
    assert list(both.own) == [1, 3] and list(both.other) == [3, 1] and both.pixels.told.all()
    assert both.q == figures["mixed/q"] == 0
    all_of_them = method(DepthSsdaConfig(confidence=0.6))[1]
    assert len(all_of_them.mixing(batch, Words.of(batch), step)[0]["mixed_ce"].own) == 4


def test_what_is_mixed_is_refused_without_mixing():
    with pytest.raises(UsageError, match=r"method\.mixed_images=unlabelled is of mixing target images"):
        method(DepthSsdaConfig(mixing="none", cross_domain=True, mixed_images="unlabelled"), source=True)


def test_a_burn_in_that_rounds_to_the_whole_run_is_refused():
    with pytest.raises(UsageError, match=r"method\.burn_in=0\.96 of 10 steps leaves none"):
        method(DepthSsdaConfig(burn_in=0.96))

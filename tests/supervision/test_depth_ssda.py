"""depth_ssda on tensors: which losses there are, what each looks at, what the teacher is told, that padding teaches nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dense_batches import dense_batch, dense_network, sure_teacher
from golden_values import golden_values

from depthbox.core.errors import UsageError
from depthbox.core.shapes import IGNORE
from depthbox.supervision.build import build_ssda
from depthbox.supervision.config import DepthSsdaConfig, DepthSsdaWeights, VideoTermsConfig
from depthbox.supervision.method import weigh
from depthbox.supervision.parts import mixing_step
from depthbox.supervision.parts.mixing_step import Words
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.refused import check_ssda

PLAIN = DepthSsdaConfig(mixing="none")
STEPS = 10
HALF = ("labels", "none", "labels", "none")
DOMAINS = ("labels", "none", "source", "source")


def method(config: DepthSsdaConfig = DepthSsdaConfig(), *, source: bool = False, multi_task: bool = False):
    student = dense_network(multi_task=multi_task)
    return student, build_ssda(config, student, depth=True, source=source, steps=STEPS)


@pytest.mark.parametrize(
    ("config", "words", "terms"),
    [
        (PLAIN, ("labels", "labels"), {"labelled_ce"}),
        (DepthSsdaConfig(), HALF, {"labelled_ce", "mixed_ce"}),
        (DepthSsdaConfig(mixing="class"), HALF, {"labelled_ce", "mixed_ce"}),
        (DepthSsdaConfig(), ("labels", "labels", "none"), {"labelled_ce", "mixed_ce"}),
        (DepthSsdaConfig(), ("none",), {"labelled_ce", "mixed_ce"}),
        (PLAIN, ("source", "source"), {"labelled_ce", "source_ce"}),
        (replace(PLAIN, cross_domain=True), DOMAINS, {"labelled_ce", "source_ce", "cross_domain_ce"}),
        (DepthSsdaConfig(cross_domain=True), DOMAINS, {"labelled_ce", "source_ce", "cross_domain_ce", "mixed_ce"}),
    ],
)
@pytest.mark.parametrize("padded", [0, 20])
def test_each_row_of_the_table_has_its_losses(config, words, terms, padded: int):
    student, built = method(config, source="source" in words)
    for step in range(2):
        losses = built.losses(student, dense_batch(words, padded=padded), step)
        total = weigh(losses.terms, built.weights, step)
        total.backward()
        assert set(losses.terms) == terms and torch.isfinite(total)
        assert all(torch.isfinite(value) for value in losses.figures.values())
        built.after_step(student, step)


def test_several_tasks_learn_depth_from_the_images_with_neighbours():
    student, built = method(multi_task=True)
    for head in student.depth_decoder.heads:
        torch.nn.init.normal_(head.weight, std=0.02)
    batch = dense_batch(HALF, frames=(True, True, False, False))
    losses = built.losses(student, batch, 0)
    assert set(losses.terms) == {"labelled_ce", "mixed_ce", "photometric", "smoothness"}
    weigh(losses.terms, built.weights, 0).backward()
    assert [n for n, p in student.named_parameters() if p.requires_grad and p.grad is None] == []
    assert 0 < losses.terms["photometric"] < 1 and "moved_share" in losses.figures
    still = built.losses(student, dense_batch(HALF, frames=(False,) * 4), 0).terms
    assert still["photometric"] == 0 and torch.isfinite(still["labelled_ce"])


def test_with_two_heads_the_mean_of_both_counts():
    student, built = method(PLAIN, multi_task=True)
    batch = dense_batch(("labels", "none"), frames=(False, True))
    found = built.losses(student, batch, 0).terms["labelled_ce"]
    out = student(batch.views.strong)
    both = [torch.nn.functional.cross_entropy(head[:1], batch.semantic[:1]) for head in (out.logits, out.side)]
    torch.testing.assert_close(found, sum(both) / 2)


@torch.no_grad()
def test_without_mixing_it_is_cross_entropy_of_what_is_labelled():
    student, built = method(PLAIN, source=True)
    batch = dense_batch(("labels", "none", "source"), padded=8)
    found = built.losses(student, batch, 0).terms
    logits = student.class_logits(batch.views.strong)
    for name, place in (("labelled_ce", 0), ("source_ce", 2)):
        expected = torch.nn.functional.cross_entropy(logits[place][None], batch.semantic[place][None], ignore_index=IGNORE)  # fmt: skip
        torch.testing.assert_close(found[name], expected)


@torch.no_grad()
def test_labelled_images_mix_with_their_truth_and_unlabelled_ones_with_the_teachers_word():
    _, built = method()
    sure_teacher(built, 2)
    batch = dense_batch(("labels", "none"))
    found, figures = built.mixing(batch, Words.of(batch), 0)
    mixture = found["mixed_ce"]
    assert (mixture.own, list(mixture.other)) == ([0, 1], [1, 0])
    assert torch.equal(mixture.mask[0], batch.views.disparity[0, 0] >= batch.views.disparity[1, 0] - 0.03)
    expected = torch.where(mixture.mask[0], batch.semantic_truth[0], torch.tensor(2))
    assert torch.equal(mixture.pixels.labels[0], expected)
    assert mixture.weight == 1 and figures["mixed/q"] == 1
    assert figures["pseudo/accuracy"] == pytest.approx(float((batch.semantic_truth[1] == 2).float().mean()))


@torch.no_grad()
def test_what_is_weighed_by_confidence():
    """3.3: q of target images is of their mixed pixels, whatever else is in the batch. 3.5: across domains of the unmixed target's; a source pixel weighs 1."""
    _, built = method(DepthSsdaConfig(confidence=0.6))
    sure_teacher(built, 1, logit=0.5)  # less sure than 0.6
    batch = dense_batch(("labels", "none"))
    mixture = built.mixing(batch, Words.of(batch), 0)[0]["mixed_ce"]
    of_truth = torch.stack((mixture.mask[0], ~mixture.mask[1])).float().mean()
    torch.testing.assert_close(mixture.weight, of_truth)

    _, built = method(DepthSsdaConfig(confidence=0.6, cross_domain=True), source=True)
    sure_teacher(built, 1, logit=0.5)
    batch = dense_batch(DOMAINS)
    found, figures = built.mixing(batch, Words.of(batch), 0)
    mask, across = found["mixed_ce"].mask, found["cross_domain_ce"]
    of_truth = torch.stack((mask[0], ~mask[1])).float().mean()
    torch.testing.assert_close(found["mixed_ce"].weight, of_truth)
    assert 0.4 < of_truth != 0.5 and across.q == 0.5, "one of two target images is labelled"
    assert (figures["mixed/q"], figures["cross_domain/q"]) == (found["mixed_ce"].weight, 0.5)
    assert (list(across.own), list(across.other)) == ([2, 3], [0, 1])
    assert torch.equal(across.weight, torch.where(across.mask, 1.0, 0.5))
    assert torch.equal(across.pixels.labels[0][across.mask[0]], batch.semantic[2][across.mask[0]])
    assert (across.pixels.labels[1][~across.mask[1]] == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("logit", [0.5, 50.0])
def test_pixel_by_pixel_the_truth_counts_and_a_teacher_where_it_is_sure(logit: float):
    sure = float(logit > 1)
    _, built = method(DepthSsdaConfig(trust="pixel", confidence=0.6, cross_domain=True), source=True)
    sure_teacher(built, 1, logit=logit)
    batch = dense_batch(DOMAINS)
    found, figures = built.mixing(batch, Words.of(batch), 0)
    of_target, across = found["mixed_ce"], found["cross_domain_ce"]
    truth = torch.stack((of_target.mask[0], ~of_target.mask[1]))
    assert torch.equal(of_target.weight, torch.where(truth, 1.0, sure))
    known = across.mask | torch.tensor([True, False])[:, None, None]  # the first target image is labelled
    assert torch.equal(across.weight, torch.where(known, 1.0, sure))
    assert all(value.ndim == 0 for value in figures.values())


@torch.no_grad()
def test_the_margin_between_domains_changes_its_sign():
    _, built = method(DepthSsdaConfig(margin=0.2, mixing="none", cross_domain=True), source=True)
    shares = set()
    for step in range(12):
        batch = dense_batch(("none", "source"))
        mask = built.mixing(batch, Words.of(batch), step)[0]["cross_domain_ce"].mask
        difference = (batch.views.disparity[1] - batch.views.disparity[0])[0]
        shares.add(next(s for s in (0.2, -0.2) if torch.equal(mask[0], difference >= -s)))
    assert shares == {0.2, -0.2}


@torch.no_grad()
def test_padding_teaches_nothing():
    _, built = method()
    sure_teacher(built, 1)
    batch = dense_batch(("none", "none"), padded=20)
    pixels = built.mixing(batch, Words.of(batch), 0)[0]["mixed_ce"].pixels
    assert (pixels.labels[..., -20:] == IGNORE).all() and (pixels.labels[..., :-20] == 1).all()


@torch.no_grad()
@pytest.mark.parametrize("void", [0, 8])
def test_padding_is_no_part_of_q_and_void_is(void: int):
    _, built = method(DepthSsdaConfig(confidence=0.6, cross_domain=True), source=True)
    sure_teacher(built, 1, logit=0.5)  # less sure than 0.6
    batch = dense_batch(DOMAINS, padded=20)
    batch.semantic[0, :void] = IGNORE
    found = built.mixing(batch, Words.of(batch), 0)[0]
    sure = batch.semantic[0] != IGNORE
    mask = found["mixed_ce"].mask
    mixed = torch.stack((sure & mask[0], sure & ~mask[1]))[..., :-20]
    torch.testing.assert_close(found["mixed_ce"].weight, mixed.float().mean())
    assert found["cross_domain_ce"].q == (32 - void) / 32 / 2
    assert torch.equal(found["mixed_ce"].pixels.valid, batch.views.valid[:2])


@torch.no_grad()
def test_q_is_of_the_pixels_of_all_ranks(monkeypatch):
    """Another rank, whose images are smaller: 1000 pixels, 100 of them sure."""
    monkeypatch.setattr(mixing_step, "sum_over_ranks", lambda counts: counts + torch.tensor([100.0, 1000.0]))
    _, built = method()
    sure_teacher(built, 1)
    batch = dense_batch(HALF)
    pixels = batch.semantic.numel()
    q = built.mixing(batch, Words.of(batch), 0)[0]["mixed_ce"].weight
    assert q == pytest.approx((pixels + 100) / (pixels + 1000))


@torch.no_grad()
def test_the_teacher_looks_at_the_plain_view():
    _, built = method()
    batch = dense_batch(("none", "none"))
    other = replace(batch, views=replace(batch.views, strong=torch.zeros_like(batch.views.weak)))
    one, two = (built.mixing(b, Words.of(b), 0)[0]["mixed_ce"] for b in (batch, other))
    assert torch.equal(one.pixels.labels, two.pixels.labels) and torch.equal(one.pixels.images, two.pixels.images)


def test_the_teacher_follows_as_published(shared: Path):
    """One update of weight 10, bias -1 towards 0..5 and 1."""
    rows = golden_values(shared, "ema", folder="self_supervised_depth")["rows"]
    for iteration, *expected in rows.tolist():
        student = torch.nn.Linear(6, 1)
        teacher = Teacher(student, start=1, keep=0.99)
        with torch.no_grad():
            teacher.model.weight.fill_(10)
            teacher.model.bias.fill_(-1)
            student.weight.copy_(torch.arange(6.0))
            student.bias.fill_(1)
        teacher.follow(student, int(iteration))
        found = [*teacher.model.weight[0].tolist(), teacher.model.bias.item()]
        assert found == pytest.approx(expected[: len(found)], rel=1e-4, abs=1e-5)


def test_after_the_first_step_the_teacher_is_the_student():
    student, built = method()
    with torch.no_grad():
        student.classifier.bias.add_(1)
    built.after_step(student, 0)
    assert torch.equal(built.mixing.teacher.model.classifier.bias, student.classifier.bias)
    assert built.modules().keys() == {"teacher"} and built.evaluated(student, 5) is student
    assert method(PLAIN)[1].modules() == {}


@pytest.mark.parametrize(
    ("config", "there", "words"),
    [
        (DepthSsdaConfig(), {}, "method.mixing=depth mixes by disparity"),
        (DepthSsdaConfig(mixing="none", cross_domain=True), {"source": True}, "method.cross_domain mixes by disparity"),
        (DepthSsdaConfig(cross_domain=True), {"depth": True}, "set data.source.images"),
        (DepthSsdaConfig(mixing="class", margin=0.1), {"depth": True}, r"method\.margin=0\.1 is of mixing by depth"),
        (DepthSsdaConfig(mixing="none", keep=0.5), {}, r"method\.keep=0\.5 is of mixtures"),
        (DepthSsdaConfig(mixing="none", trust="pixel"), {}, r"method\.trust=pixel is of mixtures"),
        (
            DepthSsdaConfig(mixing="none", video=VideoTermsConfig(scales=1)),
            {},
            r"method\.video=.* is of the depth task",
        ),
        (
            DepthSsdaConfig(mixing="none", weights=DepthSsdaWeights(mixed_ce=2)),
            {},
            r"method\.weights\.mixed_ce=2 weighs a",
        ),
        (
            DepthSsdaConfig(mixing="none", weights=DepthSsdaWeights(photometric=2)),
            {},
            r"weights\.photometric=2 weighs a",
        ),
        (DepthSsdaConfig(confidence=1.5), {"depth": True}, "method.confidence"),
        (DepthSsdaConfig(jitter=1.0), {"depth": True}, "method.jitter"),
    ],
)
def test_a_setting_without_effect_is_refused(config: DepthSsdaConfig, there: dict, words: str):
    with pytest.raises(UsageError, match=words):
        check_ssda(config, **{"depth": False, "source": False, "multi_task": False} | there)

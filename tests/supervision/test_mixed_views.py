"""Pairs, masks and draws of mixtures: both orders, any number, the same for the same names, a whole published step."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from golden_values import golden_values
from torch import Tensor

from depthbox.core.shapes import IGNORE
from depthbox.ops.mixing import confident_share
from depthbox.supervision.parts.mixed_views import (
    Pixels,
    believed,
    by_classes,
    by_depth,
    domain_margins,
    mixed,
    partners,
    strong_mixture,
)
from depthbox.supervision.parts.pixel_terms import labelled_cross_entropy, weighted_cross_entropy
from depthbox.supervision.parts.pseudo_pixels import pseudo_figures

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def golden(shared: Path) -> Mapping[str, Tensor]:
    return golden_values(shared, "depthmix", folder="self_supervised_depth")


def test_a_whole_step_as_published(golden):
    """One labelled and one unlabelled image, both orders of the pair."""
    truth = golden["gt_labels_img0"]
    truth = torch.stack((torch.where(truth == 250, IGNORE, truth), torch.full_like(truth, IGNORE)))
    confidence, labels = believed(truth, golden["teacher_logits"][1:].softmax(1), [1])
    pixels = Pixels(
        images=golden["images"],
        labels=labels,
        confidence=confidence,
        disparity=golden["disparity"][:, 0],
        valid=torch.ones_like(labels, dtype=torch.bool),
        told=torch.ones_like(labels, dtype=torch.bool),
    )
    other = pixels.of(partners(2))
    both = mixed(by_depth(pixels, other, margin=0.03), pixels, other)
    torch.testing.assert_close(both.images, golden["step_mixed_images"], **CLOSE)
    assert torch.equal(torch.where(both.labels == IGNORE, 250, both.labels), golden["step_pseudo_label"])
    q = confident_share(both.confidence)
    torch.testing.assert_close(q, golden["step_weight_q"], **CLOSE)
    logits = golden["student_logits"].requires_grad_()
    loss = weighted_cross_entropy(logits, both.labels, q, valid=both.valid)
    torch.testing.assert_close(loss, golden["step_loss"], **CLOSE)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], golden["step_grad_student_logits"], **CLOSE)


def test_cross_entropies_as_published(shared: Path):
    golden = golden_values(shared, "losses_metric", folder="self_supervised_depth")
    labels = torch.where(golden["ce_labels"] == 250, IGNORE, golden["ce_labels"])
    torch.testing.assert_close(labelled_cross_entropy(golden["ce_logits"], labels), golden["ce_mean"], **CLOSE)
    found = weighted_cross_entropy(golden["ce_logits"], labels, golden["ce_pixel_weights"])
    torch.testing.assert_close(found, golden["ce_pixelweighted"], **CLOSE)


def test_padding_does_not_count_and_void_does():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 6, generator=generator), torch.randint(0, 3, (2, 4, 6), generator=generator)
    labels[0, 0] = IGNORE
    q = torch.tensor(0.7)
    whole = weighted_cross_entropy(logits, labels, q)
    assert torch.equal(whole, weighted_cross_entropy(logits, labels, q, valid=torch.ones(2, 4, 6, dtype=torch.bool)))
    void = torch.nn.functional.pad(labels, (0, 2), value=IGNORE)
    wide = torch.nn.functional.pad(logits, (0, 2))
    valid = torch.nn.functional.pad(torch.ones(2, 4, 6, dtype=torch.bool), (0, 2))
    torch.testing.assert_close(weighted_cross_entropy(wide, void, q, valid=valid), whole)
    torch.testing.assert_close(weighted_cross_entropy(wide, void, q), whole * 6 / 8)


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("apart", [1, 2])
def test_everyone_meets_someone_else_once_in_each_role(number: int, apart: int):
    found = partners(number, apart=apart)
    assert sorted(found) == list(range(number))
    assert number == 1 or all(own != other for own, other in enumerate(found))
    ring = 3 if number % 2 and number > 1 else 0
    assert sum(found[other] == own for own, other in enumerate(found)) == number - ring


def test_ranks_mix_what_one_machine_mixes():
    """Eight images on one machine are four and four on two."""
    for apart in (1, 2):
        half = partners(4, apart=apart)
        assert partners(8, apart=apart) == half + [4 + place for place in half]


def pixels(number: int) -> Pixels:
    generator = torch.Generator().manual_seed(0)
    return Pixels(
        images=torch.rand(number, 3, 6, 8, generator=generator),
        labels=torch.randint(0, 5, (number, 6, 8), generator=generator),
        confidence=torch.rand(number, 6, 8, generator=generator),
        disparity=torch.rand(number, 6, 8, generator=generator),
        valid=torch.rand(number, 6, 8, generator=generator) < 0.8,
        told=torch.rand(number, 6, 8, generator=generator) < 0.5,
    )


def test_every_map_of_a_mixture_is_of_the_same_image_there():
    one = pixels(3)
    other = one.of(partners(3))
    mask = by_depth(one, other, margin=0.0)
    both = mixed(mask, one, other)
    assert 0.2 < mask.float().mean() < 0.8
    for name in ("labels", "confidence", "valid"):
        assert torch.equal(getattr(both, name)[mask], getattr(one, name)[mask])
        assert torch.equal(getattr(both, name)[~mask], getattr(other, name)[~mask])
    assert torch.equal(both.images.movedim(1, -1)[~mask], other.images.movedim(1, -1)[~mask])


def test_half_of_the_classes_are_drawn_by_name():
    one, names = pixels(2), [(3, 10, 11), (3, 11, 10)]
    masks = by_classes(one, names)
    for mask, labels in zip(masks, one.labels, strict=True):
        shown = labels[mask].unique()
        assert len(shown) == 3 and not torch.isin(labels[~mask], shown).any()
    assert torch.equal(masks, by_classes(one, names))
    assert any(not torch.equal(masks, by_classes(one, [(step, *rest) for _, *rest in names])) for step in range(9))


def test_the_sign_of_a_domain_margin_is_drawn():
    found = domain_margins(0.03, [(step, 1, 2) for step in range(40)], torch.zeros(1))
    assert found.shape == (40, 1, 1) and set(found.flatten().tolist()) == {*torch.tensor([0.03, -0.03]).tolist()}


def test_the_strong_view_is_drawn_by_name_and_can_be_off():
    images, names = pixels(2).images.repeat(1, 1, 2, 2), [(1, 2, 3), (1, 3, 2)]
    assert torch.equal(strong_mixture(images, names, jitter=0.0, blur=0.0), images)
    found = strong_mixture(images, names, jitter=0.25, blur=1.0)
    assert torch.equal(found, strong_mixture(images, names, jitter=0.25, blur=1.0))
    alone = strong_mixture(images[1:], names[1:], jitter=0.25, blur=1.0)
    torch.testing.assert_close(alone, found[1:], msg="a batch of other size draws the same")
    many = strong_mixture(images[:1].expand(60, -1, -1, -1), [(s, 0, 0) for s in range(60)], jitter=0.25, blur=0.0)
    untouched = sum(torch.allclose(one, images[0]) for one in many)
    assert 4 <= untouched <= 22, "a fifth of them"


def test_truth_is_certain_and_padding_is_nobodys():
    truth = torch.tensor([[[0, IGNORE]], [[IGNORE, IGNORE]]])
    teacher = torch.tensor([0.2, 0.8]).view(1, 2, 1, 1).expand(1, 2, 1, 2).clone()
    teacher[..., 1] = 0  # padding
    confidence, labels = believed(truth, teacher, [1])
    torch.testing.assert_close(confidence, torch.tensor([[[1.0, 0.0]], [[0.8, 0.0]]]))
    assert labels.tolist() == [[[0, IGNORE]], [[1, IGNORE]]]


def test_figures_of_pseudo_labels():
    labels = torch.tensor([[[0, 1, 2, IGNORE]]])
    truth = torch.tensor([[[0, 1, 0, 0]]])
    found = pseudo_figures(torch.tensor([[[0.99, 0.5, 0.99, 0.0]]]), labels, truth, threshold=0.968)
    assert {name: round(float(value), 3) for name, value in found.items()} == {
        "pseudo/confident_share": 0.667,
        "pseudo/accuracy": 0.667,
        "pseudo/accuracy_of_confident": 0.5,
    }
    assert pseudo_figures(torch.zeros(0, 1, 4), labels[:0], None, threshold=0.9) == {}
    unknown = pseudo_figures(torch.ones(1, 1, 4), labels, torch.full_like(truth, IGNORE), threshold=0.9)
    assert unknown.keys() == {"pseudo/confident_share"}

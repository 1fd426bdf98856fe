"""The query head's losses and matching: reference values, transformers' Mask2Former, and cases by hand."""

import pytest
import torch
from golden_values import golden_values
from query_network import GivenPoints, outputs_of, query_network
from small_batches import small_batch

from depthbox.core.batch import Instances
from depthbox.models.query_head import QueryOutputs
from depthbox.supervision.config import PointsConfig, QueryTermsConfig
from depthbox.supervision.parts import query_terms as terms_of_queries
from depthbox.supervision.parts.points import DrawnPoints, at_points, extent_of, most_uncertain, shared_points
from depthbox.supervision.parts.query_matching import cheapest, matching_cost, pairwise_bce, pairwise_dice
from depthbox.supervision.parts.query_terms import QueryTargets, match, matched, query_terms, targets_of

CONFIG = QueryTermsConfig(points=PointsConfig(number=64))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def golden(shared, name):
    return golden_values(shared, name, folder="pl_dc")


def test_golden_pairwise_costs(shared):
    said = golden(shared, "m2f_losses")
    torch.testing.assert_close(
        pairwise_dice(said["batch_logits"], said["batch_targets"]), said["batch_dice_loss"], **CLOSE
    )
    torch.testing.assert_close(
        pairwise_bce(said["batch_logits"], said["batch_targets"]), said["batch_sigmoid_ce_loss"], **CLOSE
    )


@pytest.mark.parametrize("kind", ["binary", "soft", "extreme"])
def test_golden_pair_losses(shared, kind):
    """As one image whose pixels are the points."""
    said = golden(shared, "m2f_losses")
    names = ("extreme_logits", "extreme_targets", "extreme_dice", "extreme_ce") if kind == "extreme" else (
        "logits", f"targets_{kind}", f"dice_loss_{kind}", f"sigmoid_ce_loss_{kind}")  # fmt: skip
    logits, targets, dice, bce = (said[name] for name in names)
    count = 1 if kind == "extreme" else float(said["num_masks"])
    n, p = logits.shape
    columns = ((torch.arange(p) + 0.5) / p)[:, None]
    points = torch.cat((columns, torch.full_like(columns, 0.5)), 1)
    confident = torch.eye(n)[None] * 50
    outputs = outputs_of(torch.cat((confident, torch.zeros(1, n, 1)), 2)[None], logits[None, None, :, None])
    one = QueryTargets(labels=torch.arange(n), masks=targets[:, None])
    config = QueryTermsConfig(cost_bce=0, cost_dice=0, cost_class=1)
    terms = query_terms(outputs, [one], config, points=GivenPoints(points[None], [points.expand(n, -1, -1)]))
    torch.testing.assert_close(terms["query_dice"] * n / count, dice.view(()), **CLOSE)
    torch.testing.assert_close(terms["query_bce"] * n / count, bce.view(()), **CLOSE)


def golden_batch(shared):
    said = golden(shared, "m2f_matcher")
    targets = [QueryTargets(labels=said[f"labels_{b}"].long(), masks=said[f"masks_{b}"].float()) for b in range(3)]
    return said, outputs_of(said["pred_logits"][None], said["pred_masks"][None]), targets


def test_golden_matching(shared):
    said, outputs, targets = golden_batch(shared)
    for b in range(3):
        points = said["point_coords"][b]
        at = shared_points(outputs.masks[0, b], points)
        wanted = shared_points(targets[b].masks, points)
        torch.testing.assert_close(at, said[f"pred_at_points_{b}"], **CLOSE)
        torch.testing.assert_close(wanted, said[f"target_at_points_{b}"], **CLOSE)
        cost = matching_cost(outputs.class_logits[0, b], at, targets[b].labels, wanted, QueryTermsConfig())
        torch.testing.assert_close(cost, said[f"cost_matrix_{b}"], **CLOSE)
        pairs = match(outputs, b, targets[b], QueryTermsConfig(), points)
        order = pairs.queries[0].argsort()
        assert torch.equal(pairs.queries[0, order], said[f"assign_query_{b}"].long())
        assert torch.equal(pairs.targets[0, order], said[f"assign_target_{b}"].long())


def test_golden_criterion_and_its_gradient(shared):
    said = golden(shared, "m2f_criterion")
    matched, outputs, targets = golden_batch(shared)
    class_logits = said["pred_logits"].requires_grad_()
    masks = said["pred_masks"].requires_grad_()
    by_image = said["loss_point_coords"].split([len(one.labels) for one in targets])
    loss_points = [p[matched[f"assign_target_{b}"].long().argsort()] for b, p in enumerate(by_image)]
    points = GivenPoints(matched["point_coords"], loss_points)
    terms = query_terms(outputs_of(class_logits[None], masks[None]), targets, QueryTermsConfig(), points=points)
    for name, wanted in (("query_class", "loss_ce"), ("query_bce", "loss_mask"), ("query_dice", "loss_dice")):
        torch.testing.assert_close(terms[name].detach(), said[wanted].view(()), **CLOSE)
    (2 * terms["query_class"] + 5 * terms["query_bce"] + 5 * terms["query_dice"]).backward()
    torch.testing.assert_close(class_logits.grad, said["grad_pred_logits"], **CLOSE)
    torch.testing.assert_close(masks.grad, said["grad_pred_masks"], **CLOSE)
    none = [QueryTargets(labels=torch.zeros(0, dtype=torch.long), masks=torch.zeros(0, 32, 48)) for _ in range(3)]
    alone = query_terms(
        outputs, none, QueryTermsConfig(), points=GivenPoints(matched["point_coords"], [torch.zeros(0, 5, 2)] * 3)
    )
    torch.testing.assert_close(alone["query_class"], said["loss_ce_no_targets"].view(()), **CLOSE)
    assert alone["query_bce"] == 0 and alone["query_dice"] == 0


def test_golden_uncertain_points(shared):
    said = golden(shared, "pointrend_sampling")
    logits, candidates = said["coarse_logits"][:, 0], said["rand_first_call"]
    torch.testing.assert_close(at_points(logits, candidates), said["logits_at_rand_first"][:, 0], **CLOSE)
    picked = torch.cat((most_uncertain(logits, candidates, 30), said["rand_second_call"]), 1)
    for mine, theirs in zip(picked.tolist(), said["point_coords"].tolist(), strict=True):
        assert sorted(mine) == sorted(theirs)


def random_batch(seed: int, *, queries: int = 9, classes: int = 4) -> tuple[QueryOutputs, list[QueryTargets]]:
    rng = torch.Generator().manual_seed(seed)
    outputs = outputs_of(
        torch.randn(3, 2, queries, classes + 1, generator=rng), 3 * torch.randn(3, 2, queries, 8, 12, generator=rng)
    )
    targets = [
        QueryTargets(
            labels=torch.randint(classes, (n,), generator=rng),
            masks=(torch.rand(n, 32, 48, generator=rng) < 0.3).float(),
        )
        for n in (3, 5)
    ]
    return outputs, targets


@pytest.mark.parametrize("seed", range(4))
def test_transformers_matches_and_loses_the_same(seed, monkeypatch):
    """Three layers of its matcher and losses at our points."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former import modeling_mask2former as theirs

    outputs, targets = random_batch(seed)
    masks, labels = [t.masks for t in targets], [t.labels for t in targets]
    shared_by_all, own = torch.rand(2, 64, 2), [torch.rand(len(one), 64, 2) for one in labels]
    matcher = theirs.Mask2FormerHungarianMatcher(cost_class=2.0, cost_mask=5.0, cost_dice=5.0, num_points=64)
    loss = theirs.Mask2FormerLoss(Mask2FormerConfig(num_labels=4, no_object_weight=0.1), {})
    totals = dict.fromkeys(("loss_cross_entropy", "loss_mask", "loss_dice"), 0.0)
    for layer_masks, layer_classes in zip(outputs.masks, outputs.class_logits, strict=True):
        draws = iter(shared_by_all)
        with monkeypatch.context() as drawn:
            drawn.setattr(torch, "rand", lambda *_, draws=draws, **__: next(draws)[None])
            pairs = matcher(layer_masks, layer_classes, masks, labels)
        at = torch.cat([points[targets] for points, (_, targets) in zip(own, pairs, strict=True)])
        monkeypatch.setattr(loss, "sample_points_using_uncertainty", lambda *_, at=at: at)
        said = loss.loss_masks(layer_masks, masks, pairs, 8) | loss.loss_labels(layer_classes, labels, pairs)
        totals = {name: total + said[name] for name, total in totals.items()}
    terms = query_terms(outputs, targets, CONFIG, points=GivenPoints(shared_by_all, own))
    for name, other in zip(("query_class", "query_bce", "query_dice"), totals.values(), strict=True):
        torch.testing.assert_close(terms[name], other, rtol=1e-5, atol=1e-6)


def drawn(images: int = 2, *, step: int = 0, extent: float = 1.0) -> DrawnPoints:
    names = [(step, image) for image in range(images)]
    return DrawnPoints(CONFIG.points, names=names, extent_xy=torch.full((images, 2), extent))


def inner(*shape: int) -> torch.Tensor:
    return 0.05 + 0.9 * torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def test_an_instance_weight_scales_its_part_and_a_pixel_weight_its_bce_alone():
    outputs, targets = random_batch(0)
    heavy = [QueryTargets(labels=t.labels, masks=t.masks, weights=torch.full((len(t.labels),), 0.5)) for t in targets]
    half = [QueryTargets(labels=t.labels, masks=t.masks, pixel_weights=torch.full_like(t.masks, 0.5)) for t in targets]
    # Off the border, where pixel weights fade into 1.
    points = GivenPoints(inner(2, 64, 2), [inner(len(t.labels), 64, 2) for t in targets])
    plain, weighted, pixels = (query_terms(outputs, t, CONFIG, points=points) for t in (targets, heavy, half))
    for name, terms in (("query_bce", weighted), ("query_dice", weighted), ("query_bce", pixels)):
        torch.testing.assert_close(terms[name], 0.5 * plain[name])
    assert torch.equal(pixels["query_dice"], plain["query_dice"]) and torch.equal(
        pixels["query_class"], plain["query_class"]
    )
    assert weighted["query_class"] < plain["query_class"]
    nothing = [QueryTargets(labels=t.labels, masks=t.masks, weights=torch.zeros(len(t.labels))) for t in targets]
    gone = query_terms(outputs, nothing, CONFIG, points=points)
    assert gone["query_bce"] == 0 and gone["query_dice"] == 0 and 0 < gone["query_class"] < plain["query_class"]


@pytest.mark.parametrize(("x", "factor"), [(0.5, 0.0), (0.0, 0.5)])
def test_nobody_is_unsure_outside_the_photo(x, factor):
    """Uncertainty is sampled with zeros outside (METHODS 2): half of it is left on the edge."""
    outputs, targets = random_batch(0)
    unsure = [QueryTargets(labels=t.labels, masks=t.masks, pixel_weights=torch.zeros_like(t.masks)) for t in targets]
    at = torch.tensor([x, 0.5])
    points = GivenPoints(inner(2, 64, 2), [at.expand(len(t.labels), 64, 2) for t in targets])
    plain, weighed = (query_terms(outputs, t, CONFIG, points=points)["query_bce"] for t in (targets, unsure))
    torch.testing.assert_close(weighed, factor * plain)


def test_points_are_named_by_step_and_image_and_stay_off_the_padding():
    logits = torch.randn(2, 3, 8, 12)
    first, again, later = drawn(step=4, extent=0.5), drawn(step=4, extent=0.5), drawn(step=5, extent=0.5)
    assert torch.equal(first.loss(1, logits), again.loss(1, logits))
    assert torch.equal(first.matching(0), again.matching(0)) and not torch.equal(first.matching(0), later.matching(0))
    assert not torch.equal(first.matching(0), first.matching(1))
    points = first.loss(1, logits)
    assert points.shape == (2, 3, 64, 2) and points.max() < 0.5 < 2 * points.max()


def test_the_extent_of_a_padded_photo():
    valid = torch.zeros(2, 64, 96, dtype=torch.bool)
    valid[0, :48, :24] = True
    valid[1] = True
    assert extent_of(valid).tolist() == [[0.25, 0.75], [1.0, 1.0]]


def test_infinite_costs_are_the_last_choice():
    logits = torch.zeros(3, 8)
    logits[0] = torch.nan
    logits[1] = torch.inf
    cost = matching_cost(torch.zeros(3, 3), logits, torch.tensor([0, 1]), torch.rand(2, 8), CONFIG)
    assert torch.isfinite(cost).all()
    queries, targets = cheapest(cost)
    assert targets.tolist() == [0, 1] and 2 in queries.tolist()


def test_more_objects_than_queries_leave_objects_out():
    outputs, targets = random_batch(1, queries=4)
    terms = query_terms(outputs, targets, CONFIG, points=drawn())
    assert all(torch.isfinite(term) for term in terms.values())
    assert len(match(outputs, 1, targets[1], CONFIG, drawn().matching(1)).queries[0]) == 4


def test_masks_without_a_pixel_are_dropped():
    masks = torch.zeros(3, 64, 96, dtype=torch.bool)
    masks[1, 4:9, 4:9] = True
    kept = targets_of(Instances(boxes_xyxy=torch.rand(3, 4), labels=torch.tensor([2, 1, 0]), masks=masks))
    assert kept.labels.tolist() == [1] and kept.masks.shape == (1, 64, 96)


@pytest.mark.parametrize("objects", [[(), ()], [(), ((30.0, 12.0, 70.0, 40.0),)]])
def test_images_without_objects_train_the_classifier(objects):
    model, batch = query_network(), small_batch(objects, masks=True, depth=False)
    outputs = model(batch.views.strong, batch.views.valid)
    terms = query_terms(outputs, [targets_of(one) for one in batch.instances], CONFIG, points=drawn())
    sum(terms.values()).backward()
    assert terms["query_class"] > 0 and bool(terms["query_bce"] > 0) == bool(objects[1])
    assert torch.isfinite(model.decoder.classify.weight.grad).all() and model.decoder.classify.weight.grad.any()


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_to_learn_is_zero_with_a_graph(images):
    model = query_network()
    outputs = model(small_batch().views.weak).of(slice(0, images))
    none = [QueryTargets(labels=torch.zeros(0, dtype=torch.long), masks=torch.zeros(0, 64, 96))] * images
    terms = query_terms(outputs, none, CONFIG, points=drawn(), background=False)
    sum(terms.values()).backward()
    assert all(term == 0 for term in terms.values()) and not model.decoder.classify.weight.grad.any()


def test_the_losses_are_float32_under_mixed_precision():
    outputs, targets = random_batch(2)
    plain = query_terms(outputs, targets, CONFIG, points=drawn())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = query_terms(outputs, targets, CONFIG, points=drawn())
    assert all(mixed[name].dtype == torch.float32 and torch.equal(mixed[name], plain[name]) for name in plain)


def test_queries_are_matched_in_float32_under_mixed_precision(monkeypatch):
    outputs, targets = random_batch(2)
    compared = []
    monkeypatch.setattr(
        terms_of_queries, "matching_cost", lambda *said: compared.append(said[1]) or matching_cost(*said)
    )
    matched(outputs, targets, CONFIG, drawn())
    with torch.autocast("cpu", torch.bfloat16):
        matched(outputs, targets, CONFIG, drawn())
    assert all(torch.equal(a, b) for a, b in zip(compared[:2], compared[2:], strict=True)) and len(compared) == 4


def test_a_cost_is_float32_under_mixed_precision():
    generator = torch.Generator().manual_seed(0)
    classes, logits = (torch.randn(5, n, generator=generator) for n in (4, 64))
    targets = (torch.rand(3, 64, generator=generator) > 0.5).float()
    plain = matching_cost(classes, logits, torch.tensor([0, 1, 2]), targets, CONFIG)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, matching_cost(classes, logits, torch.tensor([0, 1, 2]), targets, CONFIG))

"""The query head: what fits together, where a query may look, and how its masks become predictions."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from query_network import outputs_of, query_network

from depthbox.core.errors import UsageError
from depthbox.models.config import InferenceConfig
from depthbox.models.predict import paste, predict
from depthbox.models.query_decoder import attention_block, sine_positions
from depthbox.models.query_predict import best_pairs, boxes_of, mask_iou, mask_quality, query_predictions

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_outputs_fit_together():
    outputs = query_network()(IMAGES)
    assert outputs.class_logits.shape == (4, 2, 12, 4) and outputs.masks.shape == (4, 2, 12, 16, 24)
    assert outputs.features.shape == (2, 32, 8, 12)
    part = outputs.of(slice(1, 2))
    assert torch.equal(part.masks[:, 0], outputs.masks[:, 1]) and len(part.features) == 1


def test_every_parameter_learns():
    model = query_network()
    outputs = model(IMAGES)
    masks = outputs.chosen(0, torch.arange(12).expand(4, -1))
    torch.testing.assert_close(masks.detach(), outputs.masks[:, 0])
    (outputs.class_logits.square().sum() + masks.square().mean()).backward()
    silent = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A key's bias moves all scores of a query alike.
    assert all(name.endswith("key.bias") for name in silent), silent


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
@torch.no_grad()
def test_other_backbones(backbone):
    outputs = query_network(backbone=backbone, **{"query.layers": 1})(IMAGES[:1])
    assert outputs.masks.shape == (2, 1, 12, 16, 24) and torch.isfinite(outputs.masks).all()


@torch.no_grad()
def test_no_query_looks_at_padding():
    """What stands on the padding changes nothing, as far as convolutions do not carry it."""
    model = query_network().eval()
    maps = model.pixel_decoder(model.backbone(IMAGES))
    padding = [torch.zeros(2, m.shape[-2] * m.shape[-1], dtype=torch.bool) for m in maps.levels]
    for block, level in zip(padding, maps.levels, strict=True):
        block.view(2, *level.shape[-2:])[..., level.shape[-1] // 2 :] = True

    def said(padding):
        return model.decoder(maps.levels, maps.fine, padding)[0][1:]

    before = said(padding)
    for level in maps.levels:
        level[..., level.shape[-1] // 2 :] = 7.0
    assert torch.equal(said(padding), before)
    assert not torch.equal(said([torch.zeros_like(p) for p in padding]), before)


def test_a_query_that_could_look_nowhere_looks_everywhere_but_at_padding():
    masks = torch.full((1, 2, 4, 4), -3.0)
    masks[0, 1, :2, :2] = 3.0
    padding = torch.tensor([[False, True, False, True]])
    blocked = attention_block(masks, torch.zeros(1, 8, 2, 2), padding)
    assert blocked[0, 0].tolist() == [[False, True, False, True], [False, True, True, True]]


def test_positions_tell_every_cell_apart():
    places = sine_positions(torch.zeros(1, 32, 6, 9))[0]
    assert places.shape == (54, 32) and torch.cdist(places, places).add(torch.eye(54) * 9).min() > 0.1


@torch.no_grad()
def test_mixed_precision_hands_out_single_precision():
    model = query_network().eval()
    exact = model(IMAGES)
    model.mixed = True
    mixed = model(IMAGES)
    assert {t.dtype for t in (mixed.class_logits, mixed.masks, mixed.features)} == {torch.float32}
    assert (mixed.class_logits - exact.class_logits).abs().max() < 0.5


@torch.no_grad()
def test_an_image_does_not_see_its_neighbours():
    model = query_network().eval()
    torch.testing.assert_close(model(IMAGES).masks[:, 1:], model(IMAGES[1:]).masks, rtol=1e-3, atol=1e-3)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(UsageError, match=r"model\.query\.\* are of model\.head=query"):
        query_network(head="dynamic")
    with pytest.raises(UsageError, match=r"model\.channels=40: takes a multiple of 8 and of 4 x model\.query\.heads=4"):
        query_network(channels=40)


def test_a_quality_is_counted_in_float32():
    logits = torch.ones(1, 300, 300)
    for half in (torch.float16, torch.bfloat16):
        assert mask_quality(logits.to(half)).item() == pytest.approx(mask_quality(logits).item(), rel=1e-5)


def test_golden_qualities(shared):
    from golden_values import golden_values

    said = golden_values(shared, "pldc_quality", folder="pl_dc")
    pairs = best_pairs(said["cls_logits"], said["mask_logits"], top=25)
    order = (pairs.query * 1000 + pairs.labels).argsort()
    assert torch.equal(pairs.query[order], said["query_index"].long())
    assert torch.equal(pairs.labels[order], said["pred_classes"].long())
    for mine, name in ((pairs.class_quality, "class_quality"), (pairs.mask_quality, "mask_quality")):
        torch.testing.assert_close(mine[order], said[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((pairs.class_quality * pairs.mask_quality)[order], said["scores"], rtol=1e-4, atol=1e-5)
    assert torch.equal((pairs.logits[order] > 0).float(), said["pred_masks"].float())


def test_the_quality_of_an_empty_mask_is_zero():
    assert mask_quality(torch.full((1, 3, 3), -2.0)).tolist() == [0.0]


def discs(size: int = 96) -> torch.Tensor:
    ys, xs = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return torch.stack([12.2 - ((xs - x) ** 2 + (ys - y) ** 2).sqrt() for x, y in ((30, 20), (60, 40))])


def said_by_two_queries(third: float = -9.0):
    """Two discs, as a network that had learned them would say them, the second query also of another class."""
    cells = F.avg_pool2d(discs()[None], 4)
    masks = torch.cat((cells, torch.full((1, 1, 16, 24), third)), 1)
    logits = torch.tensor([[[0.0, 6.0, 0.0], [5.0, 0.0, 0.0], [0.0, 3.0, 3.0]]])
    return outputs_of(logits[None], masks[None])


def test_predictions_are_scored_boxed_and_pasted_where_the_discs_are():
    (found,) = query_predictions(said_by_two_queries(), (64, 96), InferenceConfig())
    assert found.labels[:2].tolist() == [1, 0] and (found.scores.diff() <= 0).all()
    assert torch.allclose(found.boxes_xyxy[0], torch.tensor([18.0, 8.0, 42.0, 32.0]), atol=1.5)
    pasted, truth = paste(found.masks, (64, 96)) > 0.5, discs() > 0
    assert mask_iou(pasted[:2], truth).diag().min() > 0.95
    # Half a pixel beside it is worse: the cells are where `paste` takes them to be.
    moved = mask_iou(pasted[:2].roll((1, 1), (1, 2)), truth).diag()
    back = mask_iou(pasted[:2].roll((-1, -1), (1, 2)), truth).diag()
    assert (mask_iou(pasted[:2], truth).diag() > torch.maximum(moved, back)).all()
    # The third query has no pixel.
    assert len(found.scores) == 4


def test_score_threshold_and_suppression_by_mask():
    outputs = said_by_two_queries()
    (sure,) = query_predictions(outputs, (64, 96), InferenceConfig(min_score=0.5))
    assert len(sure.scores) == 2
    doubled = outputs_of(outputs.class_logits.repeat(1, 1, 2, 1), outputs.masks.repeat(1, 1, 2, 1, 1))
    (twice,) = query_predictions(doubled, (64, 96), InferenceConfig(min_score=0.5))
    (once,) = query_predictions(doubled, (64, 96), InferenceConfig(min_score=0.5, mask_nms_iou=0.7))
    assert len(twice.scores) == 4 and len(once.scores) == 2 and once.labels.tolist() == [1, 0]


def test_boxes_are_tight_around_cells():
    masks = torch.zeros(2, 16, 24, dtype=torch.bool)
    masks[0, 2:5, 3:9] = True
    assert boxes_of(masks, (64, 96)).tolist() == [[12.0, 8.0, 36.0, 20.0], [0.0, 0.0, 0.0, 0.0]]


def test_one_predict_for_both_heads():
    found = predict(query_network().eval(), IMAGES, valid=torch.ones(2, 64, 96, dtype=torch.bool))
    assert len(found) == 2 and all(len(f.scores) == len(f.boxes_xyxy) == len(f.masks) == len(f.labels) for f in found)


@torch.no_grad()
def test_no_mask_reaches_into_padding():
    """No loss looks there, so that a mask may say anything: neither its quality nor its box may hear of it."""
    valid = torch.ones(2, 64, 96, dtype=torch.bool)
    valid[0, :, 64:] = False
    outputs = query_network().eval()(IMAGES, valid)
    masks = torch.full_like(outputs.masks, -6.0)
    masks[..., 4:12, 8:20] = 6.0
    masks[:, :, 0] = -6.0
    masks[:, :, 0, :, 18:] = 6.0
    inside = replace(outputs, masks=masks).within(valid)
    assert (inside.masks[-1, 1] == masks[-1, 1]).all() and (inside.masks[-1, 0, :, :, 16:] < 0).all()
    every = InferenceConfig(top=200)
    cut, whole = query_predictions(inside, (64, 96), every)
    assert cut.boxes_xyxy[:, 2].max() == 64 and whole.boxes_xyxy[:, 2].max() == 96
    assert len(cut.scores) < len(whole.scores), "a mask of padding alone is none"

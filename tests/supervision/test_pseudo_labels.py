"""Which of a teacher's queries are believed, and how the pseudo labels are held against the truth."""

import torch

from depthbox.core.batch import Instances
from depthbox.core.config import vary
from depthbox.models.query_head import OUTSIDE
from depthbox.models.query_predict import QueryPairs, best_pairs
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.pseudo_labels import (
    PseudoLabels,
    as_targets,
    believed,
    full_size,
    uncertainty,
    verdict,
)

CONFIG = PlDcConfig()


def square(y: int, x: int, *, side: int = 4, sure: float = 6.0) -> torch.Tensor:
    logits = torch.full((16, 24), -sure)
    logits[y : y + side, x : x + side] = sure
    return logits


def pairs(c, s, query=None, masks=None) -> QueryPairs:
    n = len(c)
    return QueryPairs(
        query=torch.tensor(query or list(range(n))),
        labels=torch.arange(n),
        class_quality=torch.tensor(c),
        mask_quality=torch.tensor(s),
        logits=torch.stack(masks or [square(2, 2)] * n),
    )


def kept(said: QueryPairs, **settings) -> list[int]:
    config = vary(CONFIG, settings)
    thresholds = torch.tensor([[0.85], [0.9]]).expand(2, len(said.labels))
    return believed(said, thresholds, config).labels.tolist()


def test_both_qualities_must_reach_their_threshold():
    said = pairs([0.9, 0.86, 0.85, 0.84, 0.99], [0.95, 0.89, 0.9, 0.99, 0.3])
    assert kept(said) == [0, 2]
    assert kept(said, kept_by="coupled", class_threshold=0.8) == [0, 3]
    assert kept(said, kept_by="class", class_threshold=0.7) == [0, 1, 2, 3, 4]
    # Guided distillation asks for more than its threshold.
    level = float(said.class_quality[1])
    assert kept(said, kept_by="class", class_threshold=level) == [0, 4]


def test_a_class_that_is_not_believed_leaves_its_query_to_another():
    """With thresholds a class the likelier of two may miss its own, and the other reach it."""
    said = pairs([0.55, 0.44], [0.95, 0.95], query=[3, 3])
    thresholds = torch.tensor([[0.795, 0.355], [0.9, 0.9]])
    assert believed(said, thresholds, CONFIG).labels.tolist() == [1]
    assert believed(said, thresholds - 0.3, CONFIG).labels.tolist() == [0], "a query is one object"


def test_a_peak_between_the_pixels_is_no_mask():
    """At stride 4 a cell is above 0, and none of its pixels is."""
    peak = square(2, 2, side=1)
    peak[2, 2] = 0.5
    assert (peak > 0).sum() == 1 and not full_size(labels_of([peak], [0])).any()
    said = pairs([0.9, 0.9], [0.95, 0.95], masks=[peak, square(2, 2)])
    assert kept(said) == [1] and kept(said, kept_by="class", min_pixels=0) == [1]


def test_pixels_are_counted_at_full_size():
    one = square(2, 2)
    pixels = int(full_size(labels_of([one], [0])).sum())
    assert pixels != 256 and kept(pairs([0.9], [0.95], masks=[one]), min_pixels=pixels - 1) == [0]
    assert kept(pairs([0.9], [0.95], masks=[one]), min_pixels=pixels) == []


def test_padding_is_no_area():
    """Its logit says about 0 and not 0: 368 cells of it are an eighth of a pixel."""
    one = torch.full((16, 24), OUTSIDE)
    one[:4, :4], one[1:3, 1:3] = -6.0, 3.5
    assert one[:4, :4].sigmoid().sum() < 4 < one.sigmoid().sum()
    said = pairs([0.9], [0.95], masks=[one])
    how = {"kept_by": "class", "class_threshold": 0.7}
    assert kept(said, min_pixels=4, **how) == [] and kept(said, min_pixels=3, **how) == [0]


def test_guided_distillation_counts_probabilities_at_stride_4():
    faint = square(2, 2, sure=1.0)
    area = faint.sigmoid().sum().item()
    said = pairs([0.9], [0.95], masks=[faint])
    assert area > 100 and kept(said, kept_by="class", min_pixels=int(area)) == [0]
    assert kept(said, kept_by="class", min_pixels=int(area) + 1) == []


def test_of_overlapping_masks_the_best_stays_where_it_is_asked_for():
    masks = [square(2, 2), square(2, 3), square(2, 16), square(3, 3, side=2)]
    said = pairs([0.99, 0.95, 0.9, 0.9], [0.95] * 4, masks=masks)
    assert kept(said) == [0, 1, 2, 3]
    assert kept(said, pseudo_nms_iou=0.7) == [0, 1, 2, 3]
    assert kept(said, pseudo_nms_iou=0.5) == [0, 2, 3]
    assert kept(said, pseudo_nms_iou=0.1) == [0, 2]
    # One that is not believed suppresses nobody.
    said = pairs([0.84, 0.95], [0.95] * 2, masks=masks[:2])
    assert kept(said, pseudo_nms_iou=0.5) == [1]


def test_small_masks_and_second_classes_of_a_query_are_left_out():
    said = pairs([0.9] * 4, [0.95] * 4, query=[5, 5, 2, 3], masks=[square(2, 2)] * 3 + [square(0, 0, side=0)])
    assert kept(said) == [0, 2]
    assert kept(said, min_pixels=256) == []


def test_a_class_has_its_own_threshold():
    said = pairs([0.7, 0.7], [0.95, 0.95])
    thresholds = torch.tensor([[0.6, 0.8], [0.9, 0.9]])
    assert believed(said, thresholds, CONFIG).labels.tolist() == [0]


def test_uncertainty_is_golden(shared):
    from golden_values import golden_values

    said = golden_values(shared, "pldc_quality", folder="pl_dc")
    found = best_pairs(said["cls_logits"], said["mask_logits"], top=25)
    order = (found.query * 1000 + found.labels).argsort()[:6]
    torch.testing.assert_close(uncertainty(found.logits[order]), said["mask_uncertainty_first6"], rtol=1e-4, atol=1e-5)


def labels_of(masks, classes) -> PseudoLabels:
    n = len(masks)
    return PseudoLabels(
        query=torch.arange(n),
        labels=torch.tensor(classes, dtype=torch.long),
        class_quality=torch.ones(n),
        mask_quality=torch.ones(n),
        logits=torch.stack(masks) if masks else torch.zeros(0, 16, 24),
    )


def test_targets_are_full_size_and_weighed_by_certainty():
    one = labels_of([square(2, 2), square(8, 10, sure=0.5)], [1, 0])
    targets = as_targets(one, weigh_pixels=True)
    assert (
        targets.masks.shape == (2, 64, 96)
        and targets.masks[0, 9:23, 9:23].all()
        and 250 <= targets.masks[0].sum() <= 256
    )
    sure, unsure = targets.pixel_weights
    assert sure.shape == unsure.shape == (64, 96) and unsure.max() < 0.3
    # Sure in a cell and sure beside it: in between the logit goes through 0, and there nobody is.
    assert sure[10:22, 10:22].min() > 0.99 and sure[12:20, 7:9].max() < 0.7
    assert as_targets(one, weigh_pixels=False).pixel_weights is None
    assert as_targets(labels_of([], []), weigh_pixels=True).masks.shape == (0, 64, 96)


def test_the_verdict_counts_masks_and_classes():
    found = labels_of([square(2, 2), square(8, 10), square(2, 16)], [1, 0, 2])
    truth = Instances(
        boxes_xyxy=torch.zeros(2, 4),
        labels=torch.tensor([1, 2]),
        masks=full_size(labels_of([square(2, 2), square(8, 10)], [0, 1])),
    )
    nothing = labels_of([], [])
    said = verdict(
        [found, nothing, found], [torch.tensor([1, 2, 2]), nothing.labels, found.labels], [truth, truth, None]
    )
    assert (said.kept, said.masks, said.right, said.right_before, said.objects) == (3, 2, 1, 2, 4)


def test_an_object_is_found_once_by_the_best_of_its_masks():
    found = labels_of([square(2, 16), square(2, 2), square(2, 2), square(8, 10), square(2, 2)], [0, 2, 1, 0, 1])
    masks = full_size(labels_of([square(2, 2), square(8, 10)], [0, 1]))
    truth = Instances(boxes_xyxy=torch.zeros(2, 4), labels=torch.tensor([1, 0]), masks=masks)
    said = verdict([found], [torch.tensor([0, 1, 1, 0, 1])], [truth])
    assert (said.kept, said.masks, said.right, said.right_before, said.objects) == (5, 2, 1, 2, 2)

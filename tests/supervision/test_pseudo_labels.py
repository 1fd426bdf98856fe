"""Which of a teacher's queries are believed, and how the pseudo labels are held against the truth."""

import pytest
import torch

from depthbox.core.batch import Instances
from depthbox.core.config import vary
from depthbox.models.query_predict import QueryPairs, best_pairs
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.matching import right_similarity
from depthbox.supervision.parts.pseudo_labels import (
    PseudoLabels,
    as_targets,
    believed,
    depth_quality,
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
    assert targets.pixel_weights.shape == (2, 16, 24)
    assert targets.pixel_weights[0].min() > 0.99 and targets.pixel_weights[1].max() < 0.3
    assert as_targets(one, weigh_pixels=False).pixel_weights is None
    assert as_targets(labels_of([], []), weigh_pixels=True).masks.shape == (0, 64, 96)


def test_the_verdict_counts_masks_and_classes():
    found = labels_of([square(2, 2), square(8, 10), square(2, 16)], [1, 0, 2])
    truth = Instances(
        boxes_xyxy=torch.zeros(2, 4),
        labels=torch.tensor([1, 2]),
        masks=full_size(torch.stack([square(2, 2), square(8, 10)])),
    )
    nothing = labels_of([], [])
    said = verdict(
        [found, nothing, found], [torch.tensor([1, 2, 2]), nothing.labels, found.labels], [truth, truth, None]
    )
    assert (said.kept, said.masks, said.right, said.right_before, said.objects) == (3, 2, 1, 2, 4)


@pytest.mark.parametrize("form", ["A", "B"])
def test_a_mask_across_a_depth_edge_agrees_less(form):
    disparity = torch.full((1, 1, 64, 96), 0.2)
    disparity[..., 48:] = 0.25
    similarity = right_similarity(disparity, torch.ones(1, 64, 96, dtype=torch.bool), theta=2.0)[0]
    similarity[:, 12:] = 0.3
    inside, across = depth_quality(torch.stack([square(4, 4), square(4, 10)]), similarity, (64, 96), form=form)
    assert inside > 0.95 and across < 0.7

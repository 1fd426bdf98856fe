"""What boxes say about queries: which query answers for a box, and terms that are those of the detector's masks, summed over layers."""

import pytest
import torch
from query_network import outputs_of, query_network
from small_batches import small_batch

from depthbox.core.batch import Instances
from depthbox.supervision.config import BoxTermsConfig
from depthbox.supervision.parts.box_query_terms import box_query_terms, box_targets, match_boxes
from depthbox.supervision.parts.box_terms import affinities, projection
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.query_terms import QueryTargets, query_class

CONFIG = BoxTermsConfig()
BATCH = small_batch()
SIZE = (64, 96)


def boxes(*xyxy: tuple[float, float, float, float], labels: list[int] | None = None) -> Instances:
    return Instances(boxes_xyxy=torch.tensor(xyxy), labels=torch.tensor(labels or [0] * len(xyxy)))


def said(*shapes: torch.Tensor, labels: list[int], layers: int = 1):
    """Queries of these shapes "h w" in 0..1, sure of their classes."""
    masks = torch.stack(shapes).float()[None, None].expand(layers, 1, -1, -1, -1) * 16 - 8
    logits = 6.0 * torch.nn.functional.one_hot(torch.tensor(labels), 4).float()[None, None].expand(layers, 1, -1, -1)
    return outputs_of(logits, masks)


def cells(*where: slice) -> torch.Tensor:
    shape = torch.zeros(16, 24)
    shape[where] = 1
    return shape


LEFT, RIGHT = cells(slice(2, 4), slice(2, 6)), cells(slice(8, 14), slice(10, 20))
OBJECTS = boxes((40.0, 32.0, 80.0, 56.0), (8.0, 8.0, 24.0, 16.0), labels=[2, 1])
"""The right one first."""


def test_a_cell_is_in_a_box_where_its_middle_is_and_the_smallest_box_has_one():
    found = box_targets(boxes((8.0, 8.0, 24.0, 16.0), (9.9, 10.6, 14.1, 14.1), (41.0, 29.0, 41.6, 29.6)), SIZE)
    wanted = [LEFT, cells(slice(3, 4), slice(2, 4)), cells(slice(7, 8), slice(10, 11))]
    assert torch.equal(found.masks, torch.stack(wanted))


def test_a_query_answers_for_the_box_that_its_mask_fills_and_of_two_such_for_that_of_its_class():
    targets = box_targets(OBJECTS, SIZE)
    pairs = match_boxes(said(LEFT, 0 * LEFT, RIGHT, labels=[0, 2, 0], layers=2), 0, targets, CONFIG)
    assert pairs.queries.tolist() == [[2, 0], [2, 0]] and pairs.targets.tolist() == [[0, 1], [0, 1]]
    doubled = said(RIGHT, LEFT, LEFT, RIGHT, labels=[1, 0, 1, 2])
    assert match_boxes(doubled, 0, targets, CONFIG).queries.tolist() == [[3, 2]]


def test_a_thin_mask_may_answer_for_its_box_because_sides_alone_are_known():
    diagonal = torch.zeros(16, 24)
    for n in range(10):
        diagonal[8 + n * 6 // 10, 10 + n] = 1
    pairs = match_boxes(
        said(diagonal, cells(slice(8, 11), slice(10, 15)), labels=[0, 0]),
        0,
        box_targets(boxes((40.0, 32.0, 80.0, 56.0)), SIZE),
        CONFIG,
    )
    assert pairs.queries.tolist() == [[0]]


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_matching_survives_numbers_that_are_none(bad):
    outputs = said(LEFT, RIGHT, labels=[1, 2])
    outputs.masks[..., 0, 0, 0] = bad
    assert sorted(match_boxes(outputs, 0, box_targets(OBJECTS, SIZE), CONFIG).queries[0].tolist()) == [0, 1]


@pytest.mark.parametrize("layers", [1, 3])
def test_the_terms_are_those_of_the_detectors_masks_summed_over_the_layers(layers):
    edges = active_edges(BATCH.views, CONFIG, depth=True)
    outputs = said(LEFT, RIGHT.roll(1, 1), labels=[1, 0], layers=layers)
    terms = box_query_terms(outputs, [OBJECTS], [1], edges, CONFIG, no_object=0.1)
    assert set(terms) == {"boxed_class", "projection", "box_prior", "color_affinity", "depth_affinity"}
    logits, inside = outputs.masks[0, 0][[1, 0]], torch.stack((RIGHT, LEFT)).bool()
    torch.testing.assert_close(terms["projection"], layers * projection(logits, inside))
    wanted = affinities(logits, torch.tensor([1, 1]), inside, list(edges.values()))
    torch.testing.assert_close(torch.stack([terms[name] for name in edges]), layers * torch.stack(wanted))
    pair = match_boxes(outputs, 0, box_targets(OBJECTS, SIZE), CONFIG)
    plain = QueryTargets(labels=OBJECTS.labels, masks=inside.float())
    torch.testing.assert_close(terms["boxed_class"], query_class(outputs, [pair], [plain], no_object=0.1))


def test_masks_that_fill_their_boxes_cost_less_than_others():
    edges = active_edges(BATCH.views, CONFIG, depth=True)
    good, poor = (
        box_query_terms(said(*shapes, labels=[1, 2]), [OBJECTS], [1], edges, CONFIG, no_object=0.1)
        for shapes in ((LEFT, RIGHT), (RIGHT.roll(3, 0), LEFT.roll(3, 1)))
    )
    assert good["projection"] < 0.1 and poor["projection"] > 0.5 and good["boxed_class"] < poor["boxed_class"]


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [boxes((1.0, 1.0, 2.0, 2.0))],
        [Instances(boxes_xyxy=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))],
    ],
)
def test_a_graph_is_there_whatever_a_rank_is_dealt(objects):
    student = query_network()
    outputs = student(BATCH.views.weak[:1], BATCH.views.valid[:1]).of(slice(0, len(objects)))
    edges = active_edges(BATCH.views, CONFIG, depth=True)
    terms = box_query_terms(outputs, objects, list(range(len(objects))), edges, CONFIG, no_object=0.1)
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in student.parameters())
    assert len(objects) or all(term == 0 for term in terms.values())

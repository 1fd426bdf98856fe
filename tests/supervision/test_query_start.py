"""Queries picked from the photo: where they are picked, and what is taught to be the middle of an object."""

import torch
from query_network import query_network
from small_batches import small_batch

from depthbox.models.query_start import peaks
from depthbox.supervision.build import build_method
from depthbox.supervision.config import FullConfig, QueryTermsConfig
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.query_start import middle_labels, middles
from depthbox.supervision.parts.query_terms import QueryTargets, match


def targets(*boxes: tuple[int, int, int, int], hole: tuple[int, int, int, int] | None = None) -> QueryTargets:
    masks = torch.zeros(len(boxes), 64, 96)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    if hole:
        masks[0, hole[1] : hole[3], hole[0] : hole[2]] = 0
    return QueryTargets(labels=torch.arange(len(boxes)), masks=masks)


def test_the_middle_is_around_the_centre_of_mass():
    labels = middle_labels(targets((0, 0, 56, 56)), (8, 12), nothing=5)
    ys, xs = (labels == 0).nonzero().T
    assert set(zip(ys.tolist(), xs.tolist(), strict=True)) == {(y, x) for y in (2, 3, 4) for x in (2, 3, 4)}


def test_small_objects_have_a_middle_and_win_against_large_ones():
    labels = middle_labels(targets((0, 0, 56, 56), (26, 26, 29, 29)), (8, 12), nothing=5)
    assert labels[3, 3] == 1 and (labels == 1).sum() == 1 and (labels == 0).sum() == 8


def test_the_middle_of_a_ring_is_on_the_ring():
    labels = middle_labels(targets((0, 0, 56, 56), hole=(16, 16, 40, 40)), (8, 12), nothing=5)
    assert (labels == 0).any() and (labels[2:5, 2:5] == 5).all()


def test_no_object_has_no_middle():
    assert (middle_labels(targets(), (8, 12), nothing=5) == 5).all()


def test_local_maxima_come_first_and_padding_last():
    cells = torch.zeros(1, 4, 6, 3)
    cells[..., 2] = 4.0
    cells[0, 1, 1, 0] = 8.0
    cells[0, 1, 2, 0] = 7.0
    cells[0, 3, 5, 1] = 3.0
    padding = torch.zeros(1, 24, dtype=torch.bool)
    assert peaks(cells, padding, 2).tolist() == [[7, 23]]
    padding[0, 23] = True
    assert 23 not in peaks(cells, padding, 23)[0].tolist()
    assert peaks(cells, padding, 99).shape == (1, 24)


def test_hints_come_before_local_maxima():
    cells, padding = torch.zeros(1, 4, 6, 3), torch.zeros(1, 24, dtype=torch.bool)
    cells[0, 1, 1, 0] = 8.0
    hints = torch.zeros(1, 4, 6, dtype=torch.bool)
    hints[0, 2, 4] = True
    assert peaks(cells, padding, 2, hints).tolist() == [[16, 7]]


def test_the_hint_of_an_object_is_one_cell_within_it():
    ring = targets((0, 0, 56, 56), hole=(16, 16, 40, 40))
    hints = middles([ring, targets()], torch.ones(3, 64, 96, dtype=torch.bool))
    assert hints.shape == (3, 8, 12) and hints.sum((1, 2)).tolist() == [1, 0, 0]
    y, x = hints[0].nonzero()[0].tolist()
    assert ring.masks[0, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].mean() >= 0.5


def test_a_query_picked_inside_an_object_answers_for_it():
    student = query_network(**{"query.start": "picked"})
    one = targets((0, 0, 40, 40), (48, 8, 96, 64))
    valid = torch.ones(1, 64, 96, dtype=torch.bool)
    outputs = student(
        torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)), valid, middles([one], valid)
    )
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(1))
    near = match(outputs, 0, one, QueryTermsConfig(cost_outside=1e3), points)
    for layer in near.queries:
        for query, mask in zip(layer, one.masks, strict=True):
            x, y = outputs.picked.points_xy[0, query].long().tolist()
            assert mask[y, x] == 1


def test_every_part_learns_and_an_image_does_not_see_its_neighbours():
    student = query_network(**{"query.start": "picked"})
    method = build_method(FullConfig(), student, steps=9, depth=False)
    batch = small_batch(masks=True, depth=False)
    losses = method.losses(student, batch, 0)
    assert set(losses.terms) == set(method.weights) == {"query_class", "query_bce", "query_dice", "query_start"}
    weigh(losses.terms, method.weights, 0).backward()
    silent = [n for n, p in student.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert all(name.endswith("key.bias") for name in silent), silent
    with torch.no_grad():
        both, alone = student(batch.views.weak), student(batch.views.weak[1:])
    torch.testing.assert_close(both.picked.cells[1:], alone.picked.cells, rtol=1e-3, atol=1e-3)

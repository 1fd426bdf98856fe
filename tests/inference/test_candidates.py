"""What a network offers for a box: the queries that reach as far and are of its class, each box with its own choice."""

import torch
from query_network import outputs_of, query_network

from depthbox.inference.candidates import Photograph, candidates
from depthbox.inference.config import Matching

SIZE = (64, 96)
BOXES = torch.tensor([[8.0, 8.0, 40.0, 40.0], [48.0, 16.0, 88.0, 56.0]])


class Given(type(query_network())):
    """Three queries: on the first box and of class 0, on the second of class 1, and on the second of class 2."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, images, valid=None):
        masks = torch.full((1, 1, 3, 16, 24), -8.0)
        masks[..., 0, 2:10, 2:10] = 8.0
        masks[..., 1:, 4:14, 12:22] = 8.0
        return outputs_of(torch.tensor([[[[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]]]]), masks)


def offered(labels: list[int], number: int = 1):
    seen = Photograph(
        images=torch.zeros(1, 3, *SIZE),
        valid=torch.ones(1, *SIZE, dtype=torch.bool),
        boxes_xyxy=BOXES,
        labels=torch.tensor(labels),
    )
    return candidates(Given(), seen, Matching(candidates=number))


def test_a_box_may_take_the_queries_of_its_place_and_class():
    assert offered([0, 1]).allowed.tolist() == [[True, False, False], [False, True, False]]
    assert offered([0, 2]).allowed.tolist() == [[True, False, False], [False, False, True]]


def test_a_class_that_is_not_known_counts_as_the_likeliest():
    found = offered([-1, -1])
    assert found.allowed[0].tolist() == [True, False, False]
    torch.testing.assert_close(found.scores[1], found.scores.new_tensor([found.scores.max()] * 3))


def test_boxes_are_those_of_the_masks_as_they_are_pasted_and_never_too_few():
    found = offered([0, 1], number=9)
    assert found.allowed.all() and found.masks.shape == (3, 16, 24)
    assert (found.boxes_xyxy[:2] - BOXES).abs().max() < 3

"""Streams of random numbers depend on their names alone."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.rng import generator, torch_generator

numbers = st.lists(st.integers(0, 10**6), max_size=3)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=8), numbers, st.text(max_size=8), numbers)
def test_streams_are_the_same_exactly_where_their_names_are(name, given_numbers, other, other_numbers):
    mine, theirs = generator(name, *given_numbers).integers(2**62), generator(other, *other_numbers).integers(2**62)
    assert (mine == theirs) == ((name, given_numbers) == (other, other_numbers))
    assert mine == generator(name, *given_numbers).integers(2**62)


def test_what_was_drawn_before_does_not_matter():
    first = generator("views", 0, 7).random(3)
    generator("views", 0, 6).random(100)
    np.random.default_rng(0).random()
    torch.rand(3)
    assert (generator("views", 0, 7).random(3) == first).all()


def test_numbers_of_any_kind_name_the_same_stream():
    kinds = (7, np.int64(7), np.uint8(7), torch.tensor(7))
    assert len({generator("views", number).integers(2**62) for number in kinds}) == 1
    assert len({int(torch_generator("views", number).initial_seed()) for number in kinds}) == 1


def test_neighbouring_names_are_unrelated():
    keys = [("a", 1, 23), ("a", 12, 3), ("a1", 23), ("a", 123), ("a",), ("a", 0), ("a", 0, 0)]
    assert len({generator(*key).integers(2**62) for key in keys}) == len(keys)
    draws = np.stack([generator("views", 0, step).random(200) for step in range(50)])
    assert abs(np.corrcoef(draws)[np.triu_indices(50, 1)]).max() < 0.4 and abs(draws.mean() - 0.5) < 0.01


def test_the_streams_are_the_ones_that_old_checkpoints_were_made_with():
    assert generator("order", 0, 0).permutation(8).tolist() == [0, 7, 2, 5, 6, 3, 4, 1]
    assert torch.randperm(8, generator=torch_generator("order", 0, 0)).tolist() == [6, 7, 0, 5, 3, 4, 1, 2]

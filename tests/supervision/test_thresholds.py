"""Thresholds of pseudo labels: fixed, and those that follow a class's qualities."""

import torch

from depthbox.supervision.parts.thresholds import AdaptiveThresholds, FixedThresholds

A, B = torch.tensor([0]), torch.tensor([1])


def adaptive(keep: float = 0.9) -> AdaptiveThresholds:
    return AdaptiveThresholds(3, highest=(0.8, 0.9), floors=(0.4, 0.5), keep=keep)


def test_fixed_thresholds_are_the_same_for_all():
    fixed = FixedThresholds(0.85, 0.9)
    assert torch.equal(fixed.of(torch.tensor([2, 0])), torch.tensor([[0.85, 0.85], [0.9, 0.9]]))


def test_frequent_classes_start_higher():
    one = adaptive()
    one.count(torch.tensor([0, 0, 0, 1]))
    one.start()
    torch.testing.assert_close(one.of(torch.arange(3)), torch.tensor([[0.7, 0.5, 0.4], [0.8, 0.6, 0.5]]))
    one.count(torch.tensor([2, 2]))
    one.start()
    torch.testing.assert_close(one.of(A), torch.tensor([[0.7], [0.8]]))


def test_a_threshold_follows_the_mean_quality_of_its_class_and_stays_above_its_floor():
    one = adaptive(keep=0.5)
    one.start()
    one.see(torch.tensor([1, 1, 0]), torch.tensor([[0.9, 0.7, 0.0], [0.9, 0.9, 0.0]]))
    torch.testing.assert_close(one.of(B), torch.tensor([[0.6], [0.7]]))
    # Class 0 would fall below its floor; class 2 was not seen.
    torch.testing.assert_close(one.of(torch.tensor([0, 2])), torch.tensor([[0.4, 0.4], [0.5, 0.5]]))


def test_its_state_is_checkpointed():
    one, other = adaptive(), adaptive()
    one.count(A)
    one.start()
    one.see(B, torch.tensor([[0.9], [0.9]]))
    other.load_state_dict(one.state_dict())
    other.start()
    assert torch.equal(other.of(torch.arange(3)), one.of(torch.arange(3)))
    assert set(one.state_dict()) == {"tau", "counts", "started"}


def test_nothing_seen_moves_nothing():
    one = adaptive()
    one.start()
    before = one.tau.clone()
    one.see(A[:0], torch.zeros(2, 0))
    one.agree()
    assert torch.equal(one.tau, before)

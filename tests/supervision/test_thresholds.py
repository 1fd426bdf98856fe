"""Thresholds of pseudo labels: fixed, and those that follow a class's qualities."""

import torch

from depthbox.supervision.parts.thresholds import AdaptiveThresholds, FixedThresholds

A, B = torch.tensor([0]), torch.tensor([1])


def adaptive(objects=(0, 0, 0), *, lowest=(0.4, 0.5), floors=(0.4, 0.5), keep: float = 0.9) -> AdaptiveThresholds:
    return AdaptiveThresholds(objects, highest=(0.8, 0.9), lowest=lowest, floors=floors, keep=keep)


def test_fixed_thresholds_are_the_same_for_all():
    fixed = FixedThresholds(0.85, 0.9)
    assert torch.equal(fixed.of(torch.tensor([2, 0])), torch.tensor([[0.85, 0.85], [0.9, 0.9]]))


def test_frequent_classes_start_higher():
    wanted = torch.tensor([[0.7, 0.5, 0.4], [0.8, 0.6, 0.5]])
    torch.testing.assert_close(adaptive((3, 1, 0)).of(torch.arange(3)), wanted)


def test_the_published_form_starts_at_its_lowest_and_has_no_floor():
    one = adaptive((3, 1, 0), floors=(0.0, 0.0), keep=0.5)
    torch.testing.assert_close(one.of(torch.tensor([2])), torch.tensor([[0.4], [0.5]]))
    one.see(torch.tensor([2]), torch.zeros(2, 1))
    torch.testing.assert_close(one.of(torch.tensor([2])), torch.tensor([[0.2], [0.25]]))


def test_no_threshold_starts_below_its_floor():
    one = adaptive((3, 1, 0), floors=(0.6, 0.55))
    torch.testing.assert_close(one.of(torch.arange(3)), torch.tensor([[0.7, 0.6, 0.6], [0.8, 0.6, 0.55]]))


def test_a_threshold_follows_the_mean_quality_of_its_class_and_stays_above_its_floor():
    one = adaptive(keep=0.5)
    one.see(torch.tensor([1, 1, 0]), torch.tensor([[0.9, 0.7, 0.0], [0.9, 0.9, 0.0]]))
    torch.testing.assert_close(one.of(B), torch.tensor([[0.6], [0.7]]))
    # Class 0 would fall below its floor; class 2 was not seen.
    torch.testing.assert_close(one.of(torch.tensor([0, 2])), torch.tensor([[0.4, 0.4], [0.5, 0.5]]))


def test_its_state_is_checkpointed():
    one, other = adaptive(), adaptive()
    one.see(B, torch.tensor([[0.9], [0.9]]))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.of(torch.arange(3)), one.of(torch.arange(3)))
    assert set(one.state_dict()) == {"tau"}


def test_nothing_seen_moves_nothing():
    one = adaptive()
    before = one.tau.clone()
    one.see(A[:0], torch.zeros(2, 0))
    one.agree()
    assert torch.equal(one.tau, before)

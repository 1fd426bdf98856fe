"""Thresholds of pseudo labels: fixed, and those that follow a class's qualities."""

import sys
from pathlib import Path

import torch
from two_ranks import found_by_rank, found_by_two

from depthbox.supervision.parts.thresholds import AdaptiveThresholds, CountedThresholds, FixedThresholds

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


def counted(*, keep: float = 0.0) -> CountedThresholds:
    """Two objects an image of class 0, one of class 1, none of class 2."""
    return CountedThresholds((4, 2, 0), 2, lowest=(0.35, 0.5), keep=keep)


def looked_at(thresholds: CountedThresholds, *images: dict[int, list[float]], mask: float = 0.9) -> list[float]:
    """The class thresholds after one batch of images, of each the class qualities by class."""
    for image in images:
        labels = torch.tensor([label for label, found in image.items() for _ in found])
        quality = torch.tensor([q for found in image.values() for q in found])
        thresholds.see(labels, torch.stack((quality, torch.full_like(quality, mask))))
    thresholds.agree()
    return [round(value, 2) for value in thresholds.of(torch.arange(3))[0].tolist()]


def test_no_more_of_a_class_pass_than_labelled_images_hold():
    one = counted()
    assert looked_at(one) == [0.35, 0.35, 0.35]
    assert looked_at(one, {0: [0.925, 0.825, 0.725, 0.625], 1: [0.955, 0.505], 2: [0.605]}) == [0.73, 0.51, 0.61]
    # Sure of everything, it lets no more through: those at the very top alone.
    assert looked_at(one, {0: [0.995] * 60}) == [1.0, 0.35, 0.35]
    assert torch.equal(one.of(A)[1], torch.tensor([0.5]))


def test_what_is_too_poor_to_be_kept_or_rarer_than_it_should_be_raises_nothing():
    assert looked_at(counted(), {0: [0.305] * 9, 1: [0.905]}) == [0.35, 0.35, 0.35]
    assert looked_at(counted(), {0: [0.905] * 9}, mask=0.4) == [0.35, 0.35, 0.35]


def test_counts_are_an_average_over_images_that_begins_with_the_first_batch():
    many, few = {0: [0.905] * 5}, {0: [0.705]}
    # Three images a batch, 5 and 1 and 1: 7 / 3 above 0.7, which is more than two, 5 / 3 above 0.9.
    assert looked_at(counted(keep=0.9), many, few, few)[0] == 0.71
    one = counted(keep=0.9)
    looked_at(one, many)
    assert looked_at(one)[0] == 0.91 and looked_at(one, *[few] * 40)[0] == 0.35


def test_the_order_of_a_batch_says_nothing():
    images = {0: [0.915, 0.455]}, {0: [0.855, 0.655, 0.425]}, {1: [0.775, 0.605]}
    a, b = counted(keep=0.9), counted(keep=0.9)
    assert looked_at(a, *images) == looked_at(b, *images[::-1])
    assert set(a.state_dict()) == {"histogram", "seen"}


BATCH = {0: [0.915, 0.855, 0.805]}, {0: [0.705, 0.655, 0.605, 0.425]}, {1: [0.775, 0.605, 0.505, 0.405]}


def moved(rank: int) -> list[float]:
    """Each rank sees class 0 of its own quality, and agrees with the other at the end of the batch."""
    one = adaptive(keep=0.5)
    one.see(A, torch.full((2, 1), 0.6 + 0.2 * rank))
    one.agree()
    return [round(value, 4) for value in one.of(torch.arange(3))[0].tolist()]


def of_rank(rank: int) -> tuple[list[float], list[float]]:
    """Rank 0 sees the first image, rank 1 the others."""
    return looked_at(counted(keep=0.5), *(BATCH[1:] if rank else BATCH[:1])), moved(rank)


def test_two_ranks_have_the_thresholds_of_one_and_the_mean_of_those_that_follow(tmp_path: Path):
    alone = looked_at(counted(keep=0.5), *BATCH)
    assert alone == [0.43, 0.41, 0.35] and of_rank(0)[0][0] == 0.81
    assert (moved(0)[0], moved(1)[0]) == (0.5, 0.6)
    assert found_by_two(__file__, of_rank, tmp_path) == [(alone, [0.55, 0.4, 0.4])] * 2


if __name__ == "__main__":
    found_by_rank(of_rank, 0, Path(sys.argv[1]))

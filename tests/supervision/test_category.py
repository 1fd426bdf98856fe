"""The second opinion on a class: when it counts, how it is fused, and the bank of prototypes."""

import pytest
import torch

from depthbox.supervision.parts.category import PrototypeBank, Shown, correction_share, fused, mask_pooled


def test_the_share_falls_along_half_a_cosine():
    share = correction_share(20, 120, first=0.5)
    assert [round(share(step), 4) for step in (0, 20, 70, 120, 200)] == [0.5, 0.5, 0.25, 0.0, 0.0]


def test_fusing_changes_a_class_only_where_the_other_is_surer():
    own = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    other = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    assert fused(own, other, 0.5).argmax(1).tolist() == [1, 0]
    assert torch.equal(fused(own, other, 0.0), own)
    torch.testing.assert_close(fused(own, other, 0.3).sum(1), torch.ones(2))


def test_a_class_that_the_other_does_not_know_keeps_its_probability():
    own = torch.tensor([[0.2, 0.3, 0.5]])
    said = fused(own, torch.tensor([[1.0, 0.0, torch.nan]]), 0.5)
    torch.testing.assert_close(said, torch.tensor([[0.35, 0.15, 0.5]]))
    assert torch.equal(fused(own, torch.full((1, 3), torch.nan), 0.5), own)


def test_pooling_takes_the_mean_inside():
    features = torch.arange(2 * 4 * 6, dtype=torch.float32).view(2, 4, 6)
    masks = torch.zeros(2, 8, 12)
    masks[0, 2:4, 4:8] = 1
    masks[1, :, :] = 0.5
    pooled = mask_pooled(features, masks)
    torch.testing.assert_close(pooled[0], features[:, 1, 2:4].mean(1))
    torch.testing.assert_close(pooled[1], features.mean((1, 2)))
    assert mask_pooled(features, masks[:0]).shape == (0, 2)


def test_pooling_is_float32_under_mixed_precision():
    rng = torch.Generator().manual_seed(0)
    features, masks = torch.randn(5, 4, 6, generator=rng), torch.rand(2, 4, 6, generator=rng)
    plain = mask_pooled(features, masks)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = mask_pooled(features, masks)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)


def shown(features: torch.Tensor, masks: torch.Tensor) -> Shown:
    return Shown(image=torch.zeros(3, 16, 32), disparity=None, features=features, masks=masks)


def bank() -> PrototypeBank:
    return PrototypeBank(3, 4, keep=0.9)


def test_the_bank_names_what_it_has_seen():
    one, rng = bank(), torch.Generator().manual_seed(0)
    centres = torch.eye(4)[:2] * 3 + 1
    for _ in range(20):
        labels = torch.randint(2, (6,), generator=rng)
        one.learn(centres[labels] + 0.1 * torch.randn(6, 4, generator=rng), labels)
    features = centres[[1, 0]].T.reshape(4, 1, 2).repeat_interleave(4, 1).repeat_interleave(4, 2)
    masks = torch.zeros(2, 4, 8)
    masks[0, :, :4], masks[1, :, 4:] = 1, 1
    said = one.probabilities(one.described(shown(features, masks)))
    assert said[:, :2].argmax(1).tolist() == [1, 0] and said[:, :2].max(1).values.min() > 0.9
    assert said[:, 2].isnan().all() and said[:, :2].sum(1).tolist() == pytest.approx([1, 1])


def test_the_first_steps_of_a_class_are_one_average():
    one = bank()
    for value in (1.0, 2.0, 6.0):
        one.learn(torch.full((1, 4), value), torch.tensor([1]))
    torch.testing.assert_close(one.prototypes[1], torch.full((4,), 3.0))
    assert one.prototypes[0].abs().sum() == 0 and one.seen.tolist() == [0, 3, 0]
    one.learn(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert one.seen.tolist() == [0, 3, 0]


def test_an_empty_bank_knows_nothing():
    assert bank().probabilities(bank().described(shown(torch.rand(4, 2, 2), torch.ones(2, 2, 2)))).isnan().all()

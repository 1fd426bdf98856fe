"""Linear discriminants of a few examples."""

import numpy as np
import torch
from torch import Tensor

from depthbox.ops.discriminant import SHRINK, discriminant


def logits(asked: Tensor, rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Of the rows `asked`, as `rows` teach."""
    one_hot = torch.nn.functional.one_hot(labels, classes).double()
    weights, offsets = discriminant(one_hot.sum(0), one_hot.T @ rows, rows.T @ rows)
    return asked @ weights + offsets


def test_it_is_the_textbook_s_discriminant_of_scaled_rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    rows = rng.normal(size=(40, 5)) * [1, 2, 0.5, 10, 1] + labels[:, None] * [0.5, 0, 0.3, 1, 0]
    scaled = (rows - rows.mean(0)) / (rows.std(0) + 1e-5)
    means = np.stack([scaled[labels == k].mean(0) for k in range(3)])
    within = sum(np.outer(r, r) for r in scaled - means[labels]) / 40
    shrunk = (1 - SHRINK) * within + SHRINK * np.trace(within) / 5 * np.eye(5)
    directions = np.linalg.solve(shrunk, means.T)
    wanted = scaled @ directions - 0.5 * np.einsum("kd,dk->k", means, directions)
    values, named = torch.from_numpy(rows), torch.from_numpy(labels)
    torch.testing.assert_close(logits(values, values, named, 3), torch.from_numpy(wanted))


def test_few_examples_of_many_dimensions_tell_classes_apart():
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 200, generator=rng).double()
    noise = torch.randn(6, 200, generator=rng).double()

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % 4
        # What varies within a class is stronger than what tells classes apart, and common to all.
        return centres[labels] + 8 * torch.randn(n, 6, generator=rng).double() @ noise, labels

    rows, labels = drawn(40)
    others, names = drawn(80)
    said = logits(others, rows, labels, 4).argmax(1)
    nearest = torch.cdist(others, torch.stack([rows[labels == k].mean(0) for k in range(4)])).argmin(1)
    right, right_of_nearest = ((one == names).double().mean() for one in (said, nearest))
    assert right > 0.85 and right > right_of_nearest + 0.2


def test_no_examples_and_one_example_are_finite():
    rows = torch.randn(3, 6).double()
    assert not logits(rows, rows[:0], torch.zeros(0, dtype=torch.long), 2).any()
    assert logits(rows, rows[:1], torch.tensor([1]), 2).isfinite().all()
    assert logits(rows[:0], rows, torch.tensor([0, 1, 1]), 2).shape == (0, 2)

"""A picked query's mask begins around its cell, as a product like any other mask."""

import torch

from depthbox.models.anchored import Anchored, with_places


def test_an_untrained_mask_is_a_disc_of_32_pixels_around_its_cell():
    fine = with_places(torch.zeros(1, 7, 48, 64), 4)
    factors = Anchored(16)(torch.randn(1, 2, 16), torch.tensor([[[100.0, 60.0], [20.0, 90.0]]]))
    logits = torch.einsum("bqc,bchw->bqhw", factors, fine[:, 7:])
    ys, xs = (torch.arange(n) * 4 + 2.0 for n in (48, 64))
    for (x, y), mask in zip(((100, 60), (20, 90)), logits[0], strict=True):
        away = ((ys[:, None] - y) ** 2 + (xs[None] - x) ** 2) / 32**2
        torch.testing.assert_close(mask, 2 - 2 * away, rtol=1e-4, atol=1e-4)


def test_it_can_be_moved_and_stretched():
    anchored = Anchored(1)
    with torch.no_grad():
        anchored.say.bias.copy_(torch.tensor([0.5, 0.0, torch.log(torch.tensor(0.25)), 0.0, 1.0]))
    fine = with_places(torch.zeros(1, 1, 32, 32), 4)
    logits = torch.einsum("bqc,bchw->bqhw", anchored(torch.zeros(1, 1, 1), torch.tensor([[[46.0, 62.0]]])), fine[:, 1:])
    top = logits[0, 0].flatten().argmax()
    assert (int(top) // 32, int(top) % 32) == (15, 15)  # 46 + 16 = 62 px is the middle of cell 15
    assert torch.isclose(logits[0, 0, 15, 15], torch.tensor(3.0))
    assert torch.isclose(logits[0, 0, 15, 23], torch.tensor(3.0 - 0.5)) and torch.isclose(
        logits[0, 0, 23, 15], torch.tensor(1.0)
    )

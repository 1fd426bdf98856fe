"""Deformable attention: a slow loop over points, the pure torch form of transformers, and what may not change it."""

import pytest
import torch
from query_network import query_network

from depthbox.models.deformable import DeformableAttention, cell_middles, read_at

SIZES = ((2, 3), (4, 5))
HEADS, WIDTH, POINTS, READERS = 2, 3, 2, 4
RNG = torch.Generator().manual_seed(0)
MAPS = [torch.randn(2, HEADS * WIDTH, *size, generator=RNG) for size in SIZES]
PLACES = torch.rand(2, READERS, HEADS, len(SIZES), POINTS, 2, generator=RNG) * 1.6 - 0.3
"""Some lie outside."""
WEIGHTS = torch.rand(2, READERS, HEADS, len(SIZES), POINTS, generator=RNG)


def at(level: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """One map "C h w" at a place in cells, by hand: four neighbours, 0 outside."""
    total, (_, height, width) = torch.zeros(len(level)), level.shape
    for row in (int(y // 1), int(y // 1) + 1):
        for column in (int(x // 1), int(x // 1) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * level[:, row, column]
    return total


def test_it_is_the_sum_over_levels_and_points():
    found = read_at(MAPS, PLACES, WEIGHTS)
    wanted = torch.zeros(2, READERS, HEADS * WIDTH)
    for b, s, m, n, p in torch.ones(WEIGHTS.shape).nonzero().tolist():
        height, width = SIZES[n]
        x, y = (PLACES[b, s, m, n, p] * torch.tensor([width, height]) - 0.5).tolist()
        own = slice(m * WIDTH, (m + 1) * WIDTH)
        wanted[b, s, own] += WEIGHTS[b, s, m, n, p] * at(MAPS[n][b, own], x, y)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_it_is_that_of_transformers():
    theirs = pytest.importorskip(
        "transformers.models.deformable_detr.modeling_deformable_detr", reason="transformers is not installed"
    )
    values = torch.cat([level.flatten(2).transpose(1, 2) for level in MAPS], 1).unflatten(2, (HEADS, WIDTH))
    starts = torch.tensor([0, SIZES[0][0] * SIZES[0][1]])
    wanted = theirs.MultiScaleDeformableAttention()(
        values, torch.tensor(SIZES), list(SIZES), starts, PLACES, WEIGHTS, 64
    )
    torch.testing.assert_close(read_at(MAPS, PLACES, WEIGHTS), wanted)


def test_gradients_reach_values_places_and_weights():
    parts = [
        *(level.double().requires_grad_() for level in MAPS),
        PLACES.double().requires_grad_(),
        WEIGHTS.double().requires_grad_(),
    ]
    assert torch.autograd.gradcheck(lambda *maps: read_at(maps[:2], *maps[2:]), parts)


def test_at_first_every_head_looks_in_its_own_direction_and_padding_says_nothing():
    attention = DeformableAttention(8, heads=4, levels=2, points=3)
    offsets = attention.offsets.bias.view(4, 2, 3, 2)
    assert offsets[0, 1].tolist() == [[1, 0], [2, 0], [3, 0]] and offsets[1, 0, 2].round().tolist() == [0, 3]
    maps = [torch.randn(1, 8, *size, generator=RNG) for size in SIZES]
    readers, middles = torch.randn(1, 26, 8, generator=RNG), cell_middles(maps)
    assert middles[0].tolist() == pytest.approx([1 / 6, 1 / 4]) and middles[-1].tolist() == pytest.approx([0.9, 0.875])
    padding = torch.zeros(1, 26, dtype=torch.bool)
    padding[0, 6::5] = True
    before = attention(readers, middles, maps, padding)
    maps[1][0, :, :, 0] += 9.0
    assert torch.equal(attention(readers, middles, maps, padding), before)
    assert not torch.equal(attention(readers, middles, maps, torch.zeros_like(padding)), before)


def test_the_query_head_learns_through_it_and_does_not_look_at_padding():
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    model = query_network(**{"query.deformable": 2})
    assert query_network().pixel_decoder.__class__ is not model.pixel_decoder.__class__
    outputs = model(images)
    (outputs.class_logits.square().sum() + outputs.chosen(0, torch.arange(12).expand(4, -1)).square().mean()).backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # Places act through weights that begin as 0.
    assert all(name.endswith("key.bias") or name == "pixel_decoder.level.weight" for name in silent), silent
    valid = torch.ones(2, 64, 96, dtype=torch.bool)
    with torch.no_grad():
        features = model.backbone(images)
        padding = [torch.zeros(2, (64 // s) * (96 // s), dtype=torch.bool) for s in (32, 16, 8)]
        padding[0].view(2, 2, 3)[:, :, -1] = True
        maps = model.pixel_decoder(features, padding)
        assert torch.equal(model.pixel_decoder(features, padding).fine, maps.fine)
        plain = model.pixel_decoder(features, [torch.zeros_like(p) for p in padding])
        assert not torch.allclose(plain.fine, maps.fine)
        torch.testing.assert_close(
            model(images, valid).masks[:, :1], model(images[:1], valid[:1]).masks, rtol=1e-3, atol=1e-3
        )


@torch.no_grad()
def test_mixed_precision_keeps_places_exact():
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    model = query_network(**{"query.deformable": 1}).eval()
    exact = model(images)
    model.mixed = True
    assert (model(images).class_logits - exact.class_logits).abs().max() < 0.5

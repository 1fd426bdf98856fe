"""Four offsets and slices say what eight neighbours and a plain loop say, values and gradients."""

import math

import pytest
import torch
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from depthbox.ops.pairwise import (
    OFFSETS,
    Edges,
    active_share,
    active_share_at,
    agreement,
    first_difference,
    pair,
    pairwise_nll,
    second_difference,
    weighted_sums,
)

EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
"""Row-major offsets of the window without its centre, as the reference orders them."""


def at(values: Tensor, dy: int, dx: int, outside: float) -> Tensor:
    """`values` of the pixel at (y + dy, x + dx), `outside` where there is none: the plain way, one pixel after the other."""
    out = torch.full_like(values, outside)
    height, width = values.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                out[..., y, x] = values[..., y + dy, x + dx]
    return out


def direct_nll(a: Tensor, b: Tensor) -> Tensor:
    p, q = a.sigmoid(), b.sigmoid()
    return -(p * q + (1 - p) * (1 - q)).log()


def naive_sums(
    logits, image_index, inside, similar, valid, *, inside_only: bool, dilation: int
) -> tuple[Tensor, Tensor]:
    """similar "B 8 H W": the directed edge from the pixel to its neighbour at EIGHT[o] is active."""
    total = count = torch.zeros((), dtype=logits.dtype)
    for o, offset in enumerate(EIGHT):
        dy, dx = (part * dilation for part in offset)
        exists = at(torch.ones_like(logits), dy, dx, 0).bool()
        cost = direct_nll(logits, at(logits, dy, dx, 0))
        first = inside if inside_only else valid[image_index]
        weight = (similar[:, o][image_index] & at(valid, dy, dx, False)[image_index] & first & exists).to(logits.dtype)
        total, count = total + (weight * cost).sum(), count + weight.sum()
    return total, count


def edges_of(similar: Tensor, valid: Tensor, *, inside_only: bool, dilation: int) -> Edges:
    """Eight directed maps as the record's two halves; what the neighbour says of the way back is stored here."""
    forward = torch.stack([similar[:, EIGHT.index(offset)] for offset in OFFSETS], 1)
    backward = torch.stack(
        [at(similar[:, EIGHT.index((-dy, -dx))], dy * dilation, dx * dilation, False) for dy, dx in OFFSETS], 1
    )
    return Edges(forward=forward, backward=backward, valid=valid, inside_only=inside_only)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from((1, 2)), st.integers(0, 4))
def test_sums_and_gradients_equal_the_plain_form(seed, inside_only, dilation, n):
    rng = torch.Generator().manual_seed(seed)
    coin = lambda *shape: torch.rand(*shape, generator=rng) < 0.6  # noqa: E731
    logits = torch.randn(n, 5, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    image_index = torch.randint(2, (n,), generator=rng).sort().values
    inside, valid, similar = coin(n, 5, 6), coin(2, 5, 6), coin(2, 8, 5, 6)
    edges = edges_of(similar, valid, inside_only=inside_only, dilation=dilation)
    ((total, count),) = weighted_sums(logits, image_index, inside, [edges], dilation=dilation)
    wanted, number = naive_sums(logits, image_index, inside, similar, valid, inside_only=inside_only, dilation=dilation)
    torch.testing.assert_close(total, wanted)
    assert count == number
    if n:
        torch.testing.assert_close(*(torch.autograd.grad(t, logits)[0] for t in (total, wanted)))


def test_an_edge_is_asked_at_its_first_pixel():
    logits = torch.tensor([[[3.0, -3.0]]])
    both = torch.ones(1, 1, 2, dtype=torch.bool)
    one_way = torch.zeros(1, 4, 1, 2, dtype=torch.bool)
    one_way[0, 0, 0, 0] = True
    none = torch.zeros_like(one_way)
    left_box, right_box = torch.tensor([[[True, False]]]), torch.tensor([[[False, True]]])
    index = torch.zeros(1, dtype=torch.int64)

    def count(forward: Tensor, backward: Tensor, box: Tensor, valid: Tensor, inside_only: bool) -> float:
        edges = Edges(forward=forward, backward=backward, valid=valid, inside_only=inside_only)
        return weighted_sums(logits, index, box, [edges], dilation=1)[0][1].item()

    assert count(one_way, none, left_box, both, True) == 1 and count(one_way, none, right_box, both, True) == 0
    assert count(none, one_way, left_box, both, True) == 0 and count(none, one_way, right_box, both, True) == 1
    assert count(one_way, one_way, left_box, both, False) == 2
    assert count(one_way, one_way, left_box, left_box, False) == 0
    assert (
        count(one_way, one_way, left_box, left_box, True) == 0 and count(one_way, none, left_box, right_box, True) == 1
    )


def test_several_sources_share_one_pass_and_stay_apart():
    rng = torch.Generator().manual_seed(0)
    logits, index = torch.randn(3, 6, 7, generator=rng), torch.tensor([0, 0, 1])
    inside, valid = torch.rand(3, 6, 7, generator=rng) < 0.5, torch.ones(2, 6, 7, dtype=torch.bool)
    sources = [
        edges_of(torch.rand(2, 8, 6, 7, generator=rng) < 0.5, valid, inside_only=where, dilation=2)
        for where in (True, False)
    ]
    together = weighted_sums(logits, index, inside, sources)
    assert together == [weighted_sums(logits, index, inside, [source])[0] for source in sources]


def test_nothing_active_is_0_with_a_graph():
    logits = torch.randn(2, 4, 4, requires_grad=True)
    off = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    edges = Edges(forward=off, backward=off, valid=off[:, 0], inside_only=False)
    ((total, count),) = weighted_sums(logits, torch.zeros(2, dtype=torch.int64), off[0, :2], [edges])
    total.backward()
    assert total == count == 0 and not logits.grad.any()


@settings(max_examples=50, deadline=None)
@given(st.floats(-15, 15), st.floats(-15, 15))
def test_the_cost_equals_its_definition(a, b):
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    torch.testing.assert_close(pairwise_nll(x, y), direct_nll(x, y), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_saturated_logits_cost_what_they_cost_in_double_precision(spread):
    """Three softplus of size 100 that cancel are off by 3e-5, more than the tolerance of the reference values."""
    a, b = (torch.randn(2, 10_000, generator=torch.Generator().manual_seed(6)) * spread).requires_grad_()
    x, y = (one.detach().double().requires_grad_() for one in (a, b))
    cost, wanted = pairwise_nll(a, b), torch.nn.functional.softplus(torch.stack((x, y))).sum(0)
    wanted = wanted - torch.nn.functional.softplus(x + y)
    torch.testing.assert_close(cost.double(), wanted, rtol=1e-6, atol=1e-6)
    weight = torch.rand(10_000, generator=torch.Generator().manual_seed(7))
    mine = torch.autograd.grad((cost * weight).sum(), (a, b))
    theirs = torch.autograd.grad((wanted * weight).sum(), (x, y))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_the_cost_is_its_derivative():
    a, b = torch.randn(2, 30, generator=torch.Generator().manual_seed(8), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(pairwise_nll, (a, b))


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_share_of_active_edges_counts_pairs_of_valid_pixels_both_ways(dilation):
    rng = torch.Generator().manual_seed(9)
    similar, valid = torch.rand(2, 8, 6, 7, generator=rng) < 0.4, torch.rand(2, 6, 7, generator=rng) < 0.7
    active = there = 0.0
    for o, (dy, dx) in enumerate((dy * dilation, dx * dilation) for dy, dx in EIGHT):
        both = valid & at(valid, dy, dx, False)
        active, there = active + float((similar[:, o] & both).sum()), there + float(both.sum())
    edges = edges_of(similar, valid, inside_only=True, dilation=dilation)
    assert active_share(edges, dilation=dilation).item() == pytest.approx(active / there)
    nothing = edges_of(similar, torch.zeros_like(valid), inside_only=True, dilation=dilation)
    assert active_share(nothing, dilation=dilation) == 0


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32))
def test_the_cost_of_any_two_logits_is_finite(a, b):
    x, y = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    cost = pairwise_nll(x, y)
    cost.backward()
    assert torch.isfinite(cost) and cost >= -1e-5 and cost == pairwise_nll(y, x)
    assert torch.isfinite(x.grad) and x.grad.abs() <= 1 and torch.isfinite(y.grad)


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_first_difference(dilation):
    values = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    wanted = torch.stack(
        [(values - at(values, dy * dilation, dx * dilation, math.inf)).norm(dim=1) for dy, dx in OFFSETS], 1
    )
    torch.testing.assert_close(first_difference(values, dilation=dilation), wanted)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_the_second_difference(dilation, known):
    values = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values[1, 0, 3, 3] = 0.0 if known else math.nan
    wanted = []
    for dy, dx in OFFSETS:
        after, before = (at(values, s * dy * dilation, s * dx * dilation, math.inf) for s in (1, -1))
        wanted.append((after - 2 * values + before).abs()[:, 0])
    bends = second_difference(values, dilation=dilation)
    torch.testing.assert_close(bends, torch.stack(wanted, 1).nan_to_num(nan=math.inf, posinf=math.inf))
    assert bends.isinf().any() and bends.isfinite().any()


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_the_second_difference_does_not_see_planes(slope_x, slope_y, shift):
    values = torch.randn(1, 1, 7, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ys, xs = torch.meshgrid(torch.arange(7.0), torch.arange(8.0), indexing="ij")
    plane = (slope_y * ys.double() + slope_x * xs.double() + shift)[None, None]
    torch.testing.assert_close(second_difference(values + plane, dilation=2), second_difference(values, dilation=2))
    assert second_difference(plane, dilation=2)[0, :, 2:5, 2:6].max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 6), st.integers(3, 6), st.sampled_from(OFFSETS), st.sampled_from((1, 2)))
def test_pairs_are_the_pixels_an_offset_apart(height, width, offset, dilation):
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here, there = pair(torch.stack((ys, xs)), (offset[0] * dilation, offset[1] * dilation))
    expected = max(height - abs(offset[0]) * dilation, 0) * max(width - abs(offset[1]) * dilation, 0)
    assert here.shape == there.shape and here[0].numel() == expected
    assert (there[0] - here[0] == offset[0] * dilation).all() and (there[1] - here[1] == offset[1] * dilation).all()


def test_golden_pairwise_term(shared):
    said = golden_values(shared, "boxinst_losses")
    logits, wanted = said["mask_logits"][:, 0], said["pairwise_term_k3d2"]
    for dy, dx in OFFSETS:
        cost = agreement(logits, (2 * dy, 2 * dx))
        forward = pair(wanted[:, EIGHT.index((dy, dx))], (2 * dy, 2 * dx))[0]
        backward = pair(wanted[:, EIGHT.index((-dy, -dx))], (2 * dy, 2 * dx))[1]
        torch.testing.assert_close(cost, forward, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(cost, backward, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(logits).all() and logits.abs().max() > 100


def test_golden_similarity(shared):
    said = golden_values(shared, "boxinst_losses")
    similarity = torch.exp(-0.5 * first_difference(said["images_lab"], dilation=2))
    for o, (dy, dx) in enumerate(OFFSETS):
        partner = pair(said["image_masks"], (2 * dy, 2 * dx))
        here = pair(similarity[:, o], (2 * dy, 2 * dx))[0]
        for partner_valid, offset, side in ((partner[1], (dy, dx), 0), (partner[0], (-dy, -dx), 1)):
            wanted = pair(said["color_similarity_k3d2"][:, EIGHT.index(offset)], (2 * dy, 2 * dx))[side]
            torch.testing.assert_close(here * partner_valid, wanted, rtol=1e-4, atol=1e-5)


def test_where_all_are_alike_every_pixel_is_tied_to_all_neighbours_that_it_has():
    valid = torch.ones(1, 5, 7, dtype=torch.bool)
    valid[..., 6] = False
    alike = torch.ones(1, 4, 5, 7, dtype=torch.bool)
    share = active_share_at(Edges(forward=alike, backward=alike, valid=valid, inside_only=False), dilation=1)
    assert torch.equal(share, valid.float())
    # One row below which nothing is tied: its own sideways pairs stay.
    cut = alike.clone()
    cut[:, 1:, 2] = False
    share = active_share_at(Edges(forward=cut, backward=cut, valid=valid, inside_only=False), dilation=1)
    assert share[0, 2, 3] == 5 / 8 and share[0, 3, 3] == 5 / 8 and share[0, 0, 0] == 1

"""Disparity is relative: min and max of a map are 0 and 1, unknown stays unknown, and pooling counts what is known."""

import math
from pathlib import Path

import pytest
import torch
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.ops.depth import berhu, disparity_from_depth, min_max, pool_known

NAN = math.nan
value = st.floats(-100, 100, width=32)
maps = st.lists(value | st.just(NAN), min_size=6, max_size=6).map(lambda v: torch.tensor(v).view(1, 2, 3))


@settings(max_examples=50, deadline=None)
@given(maps)
def test_known_values_fill_0_to_1_in_order(values):
    scaled, known = min_max(values), torch.isfinite(values)
    assert torch.equal(torch.isfinite(scaled), known)
    if known.any():
        inside, before = scaled[known], values[known]
        assert inside.min() == 0 and inside.max() <= 1
        if before.max() - before.min() > 1e-3:
            assert inside.max() == pytest.approx(1)
        assert (inside[before.argsort()].diff() >= 0).all()


def test_each_map_of_a_batch_is_scaled_alone():
    values = torch.tensor([[[1.0, 3.0]], [[-4.0, 4.0]], [[7.0, 7.0]], [[NAN, NAN]]])
    scaled = min_max(values)
    assert scaled[:3].tolist() == [[[0, 1]], [[0, 1]], [[0, 0]]] and scaled[3].isnan().all()


def test_disparity_is_1_at_the_nearest_and_0_at_the_sky():
    disparity = disparity_from_depth(torch.tensor([[2.0, 4.0, math.inf, NAN]]))
    assert disparity[0, :3].tolist() == [1.0, 0.5, 0.0] and disparity[0, 3].isnan()


@pytest.mark.parametrize("zero, wanted", [("far", 0.0), ("missing", NAN)])
def test_a_pixel_of_depth_0_is_sky_or_a_hole_and_leaves_the_others_alone(zero, wanted):
    disparity = disparity_from_depth(torch.tensor([[2.0, 4.0, 0.0, math.inf]]), zero=zero)
    assert disparity[0].tolist() == pytest.approx([1.0, 0.5, wanted, 0.0], nan_ok=True)
    near = disparity_from_depth(torch.tensor([[2.0, 4.0, 0.0]]), zero=zero)
    assert near[0].tolist() == pytest.approx([1.0, 0.5, 0.0] if zero == "far" else [1.0, 0.0, NAN], nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.5, 80, width=32), min_size=4, max_size=4, unique=True), st.floats(0.1, 10))
def test_disparity_does_not_depend_on_the_unit_of_depth(depths, unit):
    depth = torch.tensor(depths, dtype=torch.float64)[None]
    torch.testing.assert_close(disparity_from_depth(depth), disparity_from_depth(depth * unit))


@settings(max_examples=50, deadline=None)
@given(st.lists(value | st.just(NAN), min_size=32, max_size=32))
def test_pooling_averages_what_is_known(values):
    image = torch.tensor(values).view(1, 1, 4, 8)
    pooled = pool_known(image, 2)
    assert pooled.shape == (1, 1, 2, 4)
    for y in range(2):
        for x in range(4):
            cell = image[0, 0, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            known = cell[torch.isfinite(cell)]
            wanted = known.mean() if len(known) else torch.tensor(NAN)
            torch.testing.assert_close(pooled[0, 0, y, x], wanted, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_berhu_as_published(shared: Path):
    golden = golden_values(shared, "losses_metric", folder="self_supervised_depth")
    one, other, mask = (golden[f"berhu_{name}"] for name in ("input", "target", "mask"))
    torch.testing.assert_close(berhu(one, other, mask), golden["berhu"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(berhu(one.log1p(), other.log1p(), mask), golden["berhu_log"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_constant_map_is_0_in_every_precision(dtype):
    flat = torch.full((1, 3, 4), 0.5, dtype=dtype)
    flat[0, 1, 1] = NAN
    scaled = min_max(flat)
    assert scaled.dtype == dtype and scaled[0, 1, 1].isnan() and (scaled.nan_to_num() == 0).all()
    assert min_max(torch.full_like(flat, NAN)).isnan().all()

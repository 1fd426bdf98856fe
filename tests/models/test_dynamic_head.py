"""The per-instance heads against the reference and against one plain network per instance."""

import pytest
import torch
import torch.nn.functional as F
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from depthbox.models.detector import locations
from depthbox.models.dynamic_head import HEADS, SIZES_OF_INTEREST, batched_mask_head, mask_head
from depthbox.ops.masks import aligned_bilinear

ORDER = {
    "condinst": {"w1": 144, "w2": 64, "w3": 8, "b1": 8, "b2": 8, "b3": 1},
    "depth_guided": {"w1": 144, "w2": 64, "w_d": 8, "w_m": 8, "b1": 8, "b2": 8, "b_d": 1, "b_m": 1},
}


def pieces(kind: str, parameters: Tensor) -> dict[str, Tensor]:
    """The published order, cut by hand."""
    cut, start = {}, 0
    for name, length in ORDER[kind].items():
        cut[name], start = parameters[start : start + length], start + length
    assert start == len(parameters)
    return cut


def one_head(kind: str, features: Tensor, parameters: Tensor, relative: Tensor) -> tuple[Tensor, Tensor | None]:
    """1x1 convolutions of one instance: relative coordinates first, then its image's features."""
    p = pieces(kind, parameters)
    x = torch.cat((relative, features))[None]
    x = F.conv2d(x, p["w1"].view(8, 18, 1, 1), p["b1"]).relu()
    x = F.conv2d(x, p["w2"].view(8, 8, 1, 1), p["b2"]).relu()
    if kind == "condinst":
        return F.conv2d(x, p["w3"].view(1, 8, 1, 1), p["b3"])[0, 0], None
    depth = F.conv2d(x, p["w_d"].view(1, 8, 1, 1), p["b_d"])[0, 0].sigmoid()
    return F.conv2d(x, p["w_m"].view(1, 8, 1, 1), p["b_m"])[0, 0] * depth, depth


@pytest.mark.parametrize("kind, number", [("condinst", 233), ("depth_guided", 242)])
def test_the_number_of_parameters(kind, number):
    assert HEADS[kind] == number == sum(ORDER[kind].values())


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(ORDER)), st.lists(st.integers(0, 2), max_size=5), st.integers(0, 10**6))
def test_every_instance_runs_its_own_network_on_its_own_image(kind, images, seed):
    rng = torch.Generator().manual_seed(seed)
    index, n = torch.tensor(images, dtype=torch.int64), len(images)
    features, parameters = (
        torch.randn(3, 16, 4, 5, generator=rng),
        torch.randn(n, HEADS[kind], generator=rng).requires_grad_(),
    )
    relative = torch.randn(n, 2, 4, 5, generator=rng)
    masks = mask_head(kind, features, index, parameters, relative)
    assert masks.logits.shape == (n, 4, 5) and (masks.depth is None) == (kind == "condinst")
    wanted = [one_head(kind, features[i], parameters[k], relative[k]) for k, i in enumerate(index.tolist())]
    for k, (logits, depth) in enumerate(wanted):
        torch.testing.assert_close(masks.logits[k], logits, rtol=1e-4, atol=1e-4)
        assert depth is None or torch.allclose(masks.depth[k], depth, atol=1e-5)
    assert masks.logits.sum().requires_grad


def test_instances_in_any_order_keep_their_image():
    rng = torch.Generator().manual_seed(1)
    features, parameters = torch.randn(2, 16, 4, 5, generator=rng), torch.randn(3, 242, generator=rng)
    relative, index = torch.randn(3, 2, 4, 5, generator=rng), torch.tensor([1, 0, 1])
    masks = mask_head("depth_guided", features, index, parameters, relative)
    for k, i in enumerate(index.tolist()):
        logits, depth = one_head("depth_guided", features[i], parameters[k], relative[k])
        torch.testing.assert_close((masks.logits[k], masks.depth[k]), (logits, depth), rtol=1e-4, atol=1e-4)


def test_a_head_that_does_not_exist_is_refused():
    features, index = torch.zeros(1, 16, 2, 2), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="mask head 'guided': allowed are condinst, depth_guided"):
        mask_head("guided", features, index, torch.zeros(1, 242), torch.zeros(1, 2, 2, 2))
    with pytest.raises(ValueError, match="mask head 'guided'"):
        batched_mask_head("guided", features, torch.zeros(1, 1, 242), torch.ones(1, 1, 3), torch.zeros(4, 2))


def test_depth_scales_a_logit_and_never_flips_it():
    rng = torch.Generator().manual_seed(0)
    features, relative, index = (
        torch.randn(1, 16, 6, 7, generator=rng),
        torch.randn(40, 2, 6, 7, generator=rng),
        torch.zeros(40, dtype=torch.int64),
    )
    parameters = torch.randn(40, 242, generator=rng) * 0.3
    guided = mask_head("depth_guided", features, index, parameters, relative)
    plain = torch.cat((parameters[:, :208], parameters[:, 216:240], parameters[:, 241:]), 1)
    unscaled = mask_head("condinst", features, index, plain, relative).logits
    assert (guided.depth > 0).all() and (guided.depth < 1).all() and guided.depth.std() > 0.1
    torch.testing.assert_close(guided.logits, unscaled * guided.depth)
    assert torch.equal(guided.logits.sign(), unscaled.sign()) and (unscaled < 0).any() and (unscaled > 0).any()


def test_golden_head(shared):
    said = golden_values(shared, "condinst_head")
    pixels = locations(32, 48, 8)
    sizes = torch.tensor(SIZES_OF_INTEREST)[said["fpn_levels"]]
    relative = ((said["locations_xy"][:, :, None] - pixels.T) / sizes[:, None, None]).view(5, 2, 32, 48)
    masks = mask_head("condinst", said["mask_feats"], said["im_inds"], said["params_233"], relative)
    torch.testing.assert_close(aligned_bilinear(masks.logits[:, None], 2), said["mask_logits"], rtol=1e-4, atol=1e-5)


def test_golden_locations(shared):
    assert torch.equal(locations(4, 5, 8), golden_values(shared, "condinst_head")["locations_h4w5_s8"])


def test_locations_are_the_middles_of_cells_row_by_row():
    assert locations(2, 3, 4).tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6]]

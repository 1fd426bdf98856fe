"""The box and depth terms against the reference, and against plain loops over eight neighbours."""

import math

import pytest
import torch
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from depthbox.core.batch import Views
from depthbox.ops.masks import box_masks, ellipse_masks
from depthbox.ops.pairwise import OFFSETS, pair
from depthbox.supervision.parts.box_terms import (
    affinities,
    box_prior,
    color_edges,
    depth_edges,
    instance_depth,
    projection,
)

EIGHT = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
ONE = torch.zeros(1, dtype=torch.int64)


def views_of(*, disparity: Tensor | None = None, weak: Tensor | None = None, valid: Tensor | None = None) -> Views:
    """Maps at full size; `disparity` "B h w" is given at stride 4 and repeated."""
    if disparity is not None:
        disparity = disparity.repeat_interleave(4, -1).repeat_interleave(4, -2)[:, None]
    weak = torch.zeros(len(disparity), 3, *disparity.shape[-2:]) if weak is None else weak
    valid = torch.ones((len(weak), *weak.shape[-2:]), dtype=torch.bool) if valid is None else valid
    return Views(weak=weak, strong=weak, disparity=disparity, valid=valid)


def edges_of(
    disparity: Tensor,
    *,
    form: str = "difference",
    theta: float = 2.0,
    threshold: float = 0.5,
    inside_only: bool = False,
    valid=None,
):
    return depth_edges(
        views_of(disparity=disparity, valid=valid), theta=theta, threshold=threshold, form=form, inside_only=inside_only
    )


def at(values: Tensor, dy: int, dx: int) -> Tensor:
    """The value at (y + 2 dy, x + 2 dx) of "h w"; NaN outside."""
    framed = torch.nn.functional.pad(values, (2, 2, 2, 2), value=math.nan)
    return framed[2 + 2 * dy : 2 + 2 * dy + values.shape[0], 2 + 2 * dx : 2 + 2 * dx + values.shape[1]]


def naive_affinity(logits: Tensor, inside: Tensor, disparity: Tensor, *, form: str, inside_only: bool) -> Tensor:
    """One image, its instances "N h w", disparity "h w" at stride 4 in 0..1: the formula as METHODS states it."""
    d, p = disparity.double() * 255, logits.sigmoid()
    total = count = torch.zeros((), dtype=torch.float64)
    for dy, dx in EIGHT:
        change = at(d, dy, dx) - d if form == "difference" else at(d, dy, dx) - 2 * d + at(d, -dy, -dx)
        active = (torch.exp(-change.abs() / 2.0) >= 0.5) & ~at(d, dy, dx).isnan() & ~d.isnan()
        for n in range(len(logits)):
            weight = active & (inside[n] if inside_only else torch.ones_like(active))
            p_i, p_j = p[n][weight], at(p[n], dy, dx)[weight]
            total, count = total - (p_i * p_j + (1 - p_i) * (1 - p_j)).log().sum(), count + weight.sum()
    return total / count.clamp(min=1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(("difference", "plane")), st.booleans())
def test_depth_affinity_equals_the_formula_with_its_gradient(seed, form, inside_only):
    rng = torch.Generator().manual_seed(seed)
    disparity = (torch.rand(1, 7, 8, generator=rng) * 0.02).round(decimals=4)
    disparity[0, torch.rand(7, 8, generator=rng) < 0.1] = math.nan
    logits = torch.randn(2, 7, 8, generator=rng, dtype=torch.float64, requires_grad=True)
    inside = torch.rand(2, 7, 8, generator=rng) < 0.6
    (loss,) = affinities(logits, ONE.expand(2), inside, [edges_of(disparity, form=form, inside_only=inside_only)])
    wanted = naive_affinity(logits, inside, disparity[0], form=form, inside_only=inside_only)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-8)
    if wanted.requires_grad:
        torch.testing.assert_close(
            *(torch.autograd.grad(value, logits)[0] for value in (loss, wanted)), rtol=1e-6, atol=1e-8
        )


def test_the_scale_of_disparity_is_255():
    """A step of 0.02 is 5.1 of 255, exp(-5.1 / 2) = 0.08 < 0.5: no edge. 0.003 is 0.765, exp(-0.38) = 0.68: an edge."""
    for step, active in ((0.02, False), (0.003, True), (1.3 / 255, True), (1.5 / 255, False)):
        disparity = torch.full((1, 8, 8), 0.5)
        disparity[..., 4:] += step
        across = edges_of(disparity).forward[0, OFFSETS.index((0, 1)), :, 2:4]
        assert (across == active).all(), step
        assert edges_of(disparity).forward[0, OFFSETS.index((1, 0)), :6].all()


def test_a_steep_ground_is_one_plane_and_no_first_difference():
    ramp = torch.linspace(0, 1, 12)[None, :, None].expand(1, 12, 12)
    first, plane = edges_of(ramp), edges_of(ramp, form="plane")
    down = OFFSETS.index((1, 0))
    assert not first.forward[0, down].any() and plane.forward[0, down, 2:10].all()
    assert first.forward[0, OFFSETS.index((0, 1)), :, :10].all()
    object_on_it = ramp.clone()
    object_on_it[:, 4:8, 4:8] = ramp[:, 8:9, 4:8]
    bent, blind = (edges_of(object_on_it, form=form).forward[0, down] for form in ("plane", "difference"))
    assert not bent[7, 4:8].any() and bent[7, 8:].all(), "the contact with the ground is a bend"
    assert blind[6, 4:8].all(), "and no step"


def test_the_plane_form_asks_each_direction_at_its_own_pixel():
    disparity = torch.zeros(1, 5, 9)
    disparity[..., 6:] = 0.5
    edges, right = edges_of(disparity, form="plane"), OFFSETS.index((0, 1))
    assert edges.forward[0, right, 0].tolist() == [False, False, True, True, False, False, False, False, False]
    there, back = pair(edges.forward[:, right], (0, 2))[1][0, 0], pair(edges.backward[:, right], (0, 2))[0][0, 0]
    assert torch.equal(there, back) and not torch.equal(edges.forward, edges.backward)


@pytest.mark.parametrize("form", ["difference", "plane"])
@pytest.mark.parametrize("inside_only", [False, True])
def test_unknown_disparity_has_no_edge(form, inside_only):
    disparity = torch.full((1, 9, 9), 0.5)
    disparity[0, 4, 4] = math.nan
    logits = torch.randn(1, 9, 9, dtype=torch.float64, requires_grad=True)
    inside = torch.ones(1, 9, 9, dtype=torch.bool)
    (loss,) = affinities(logits, ONE, inside, [edges_of(disparity, form=form, inside_only=inside_only)])
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all() and logits.grad[0, 4, 4] == 0
    assert (logits.grad != 0).sum() > 40


@pytest.mark.parametrize("form", ["difference", "plane"])
def test_what_stands_in_padding_is_not_believed(form):
    """A stream pads with NaN; finite values there must do the same, also as the neighbour on the other side of the plane form."""
    disparity = torch.rand(2, 8, 9, generator=torch.Generator().manual_seed(4)) * 0.01
    valid = torch.ones(2, 32, 36, dtype=torch.bool)
    # The second image ends within a cell, its middle outside.
    valid[0, :, 24:], valid[1, 17:] = False, False
    unknown = views_of(disparity=disparity, valid=valid)
    unknown.disparity.masked_fill_(~valid[:, None], math.nan)
    made_up, wanted = (
        depth_edges(views, theta=2, threshold=0.5, form=form, inside_only=False)
        for views in (views_of(disparity=disparity, valid=valid), unknown)
    )
    for name in ("forward", "backward", "valid"):
        assert torch.equal(getattr(made_up, name), getattr(wanted, name)), name
    assert not made_up.valid[0, :, 6:].any() and not made_up.valid[1, 4:].any() and made_up.forward.any()
    right = OFFSETS.index((0, 1))
    cut = depth_edges(views_of(disparity=disparity[:1, :, :6]), theta=2, threshold=0.5, form=form, inside_only=False)
    assert torch.equal(pair(made_up.backward[:1, right, :, :6], (0, 2))[0], pair(cut.backward[:, right], (0, 2))[0])


def test_a_cell_is_known_by_any_of_its_pixels():
    full = torch.full((1, 1, 16, 16), math.nan)
    full[..., ::4, ::4] = 0.5
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    weak = torch.zeros(1, 3, 16, 16)
    edges = depth_edges(
        Views(weak=weak, strong=weak, disparity=full, valid=valid),
        theta=2,
        threshold=0.5,
        form="difference",
        inside_only=False,
    )
    assert edges.valid.all() and edges.forward[0, 0, :, :2].all()


@pytest.mark.parametrize("disparity", [torch.full((1, 6, 6), math.nan), torch.rand(1, 6, 6)])
@pytest.mark.parametrize("n", [0, 2])
def test_nothing_to_supervise_is_0_with_a_graph(disparity, n):
    logits = torch.randn(n, 6, 6, requires_grad=True)
    depth = torch.rand(n, 6, 6).requires_grad_()
    inside, views = torch.zeros(n, 6, 6, dtype=torch.bool), views_of(disparity=disparity)
    edges = [edges_of(disparity, form=form, inside_only=True) for form in ("difference", "plane")]
    terms = [*affinities(logits, ONE.expand(n), inside, edges), instance_depth(depth, ONE.expand(n), inside, views)]
    if not n:
        terms.append(projection(logits, inside))
    for term in terms:
        assert term == 0 and term.requires_grad
    sum(terms).backward()
    assert not logits.grad.any() and not depth.grad.any()


def test_padding_is_no_partner():
    valid = torch.ones(1, 16, 32, dtype=torch.bool)
    valid[..., 20:] = False
    weak = torch.zeros(1, 3, 16, 32)
    weak[..., :20] = 0.5
    views = views_of(weak=weak, valid=valid)
    edges = color_edges(views, threshold=0.3)
    logits = torch.randn(1, 4, 8, requires_grad=True)
    (loss,) = affinities(logits, ONE, torch.ones(1, 4, 8, dtype=torch.bool), [edges])
    loss.backward()
    assert loss > 0 and not logits.grad[..., 5:].any() and logits.grad[..., :5].any()


def test_instance_depth_is_a_mean_over_known_pixels_of_the_boxes():
    disparity = torch.tensor([[[0.2, 0.4], [math.nan, 1.0]]])
    depth = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.0, 0.4], [0.9, 0.9]]], requires_grad=True)
    inside = torch.tensor([[[True, False], [True, True]], [[True, True], [False, False]]])
    loss = instance_depth(depth, ONE.expand(2), inside, views_of(disparity=disparity))
    loss.backward()
    assert loss.item() == pytest.approx((0.3**2 + 0.5**2 + 0.2**2 + 0.0) / 4)
    assert torch.isfinite(depth.grad).all() and depth.grad[0, 1, 0] == 0 and depth.grad[0, 0, 1] == 0
    upper = (torch.arange(8) < 4)[None, :, None].expand(1, 8, 8)
    padded = instance_depth(depth, ONE.expand(2), inside, views_of(disparity=disparity, valid=upper))
    assert padded.item() == pytest.approx((0.3**2 + 0.2**2 + 0.0) / 3)  # the lower half is padding


def test_projection_wants_the_mask_to_touch_all_four_sides():
    boxes = torch.zeros(1, 6, 8, dtype=torch.bool)
    boxes[0, 1:5, 2:7] = True
    cross = torch.full((1, 6, 8), -20.0)
    cross[0, 1:5, 4], cross[0, 3, 2:7] = 20.0, 20.0
    assert projection(cross, boxes) < 1e-4 and projection(-cross, boxes) > 0.2
    cross[0, 3, 6] = -20.0
    assert projection(cross, boxes).item() == pytest.approx(1 - 2 * 4 / (4 + 5), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.floats(-200, 200), st.floats(-200, 200), st.integers(0, 1000))
def test_no_logit_makes_a_term_infinite(low, high, seed):
    rng = torch.Generator().manual_seed(seed)
    logits = (torch.rand(2, 5, 5, generator=rng) * (high - low) + low).requires_grad_()
    inside = torch.rand(2, 5, 5, generator=rng) < 0.5
    terms = [
        projection(logits, inside),
        *affinities(logits, ONE.expand(2), inside, [edges_of(torch.full((1, 5, 5), 0.5))]),
    ]
    sum(terms).backward()
    assert all(torch.isfinite(term) for term in terms) and torch.isfinite(logits.grad).all()


@pytest.fixture
def reference(shared):
    """The reference's batch: (arrays, views, logits "N h w", boxes "N h w")."""
    said = golden_values(shared, "boxinst_losses")
    valid = said["image_masks"].repeat_interleave(4, 1).repeat_interleave(4, 2).bool()
    views = views_of(weak=said["images_bgr_u8"].flip(1).float() / 255, valid=valid)
    return said, views, said["mask_logits"][:, 0].clone().requires_grad_(), box_masks(said["boxes_xyxy"], (256, 384), 4)


def test_golden_edges(reference):
    """Exactly the reference's active edges, both ways, on all images."""
    said, views, _, inside = reference
    edges, index = color_edges(views, threshold=0.3), said["im_inds"]
    for o, (dy, dx) in enumerate(OFFSETS):
        offset = (2 * dy, 2 * dx)
        valid_i, valid_j = pair(edges.valid, offset)
        inside_i, inside_j = pair(inside, offset)
        there = (pair(edges.forward[:, o], offset)[0] & valid_j)[index] & inside_i
        back = (pair(edges.backward[:, o], offset)[0] & valid_i)[index] & inside_j
        wanted = said["pairwise_weights_t03"].bool()
        assert torch.equal(there, pair(wanted[:, EIGHT.index((dy, dx))], offset)[0])
        assert torch.equal(back, pair(wanted[:, EIGHT.index((-dy, -dx))], offset)[1])


def test_golden_losses_and_gradient(reference):
    said, views, logits, inside = reference
    project = projection(logits, inside)
    (color,) = affinities(logits, said["im_inds"], inside, [color_edges(views, threshold=0.3)])
    torch.testing.assert_close(project, said["project_term"][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(color, said["loss_pairwise_t03"][0], rtol=1e-4, atol=1e-5)
    (project + color).backward()
    torch.testing.assert_close(logits.grad, said["grad_mask_logits"][:, 0], rtol=1e-4, atol=1e-5)
    assert logits.grad.abs().max() > 1e-3


def test_golden_losses_of_the_condinst_head(shared, reference):
    said, (base, views, _, inside) = golden_values(shared, "condinst_head"), reference
    logits = said["mask_logits"][:, 0]
    (color,) = affinities(logits, base["im_inds"], inside, [color_edges(views, threshold=0.3)])
    torch.testing.assert_close(projection(logits, inside), said["boxinst_loss_prj"][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(0.5 * color, said["boxinst_loss_pairwise_iter5000"][0], rtol=1e-4, atol=1e-5)


def test_neighbours_may_be_nearer_than_published():
    """At dilation 1 a step of disparity between two columns cuts one column of pairs, at 2 it cuts two."""
    disparity = torch.zeros(1, 1, 64, 64)
    disparity[..., 32:] = 1
    blank = torch.zeros(1, 3, 64, 64)
    views = Views(weak=blank, strong=blank, disparity=disparity, valid=torch.ones(1, 64, 64, dtype=torch.bool))
    for dilation, cut in ((1, 1), (2, 2)):
        edges = depth_edges(views, theta=2, threshold=0.5, form="difference", inside_only=False, dilation=dilation)
        assert (~edges.forward[0, 0, 8, : 16 - dilation]).sum() == cut


def test_box_prior_is_the_dice_with_the_inscribed_ellipse():
    boxes = torch.tensor([[8.0, 4.0, 56.0, 60.0], [0.0, 0.0, 32.0, 16.0]])
    shapes = ellipse_masks(boxes, (64, 64), 4)
    for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        for r, c in ((r, c) for r in range(16) for c in range(16)):
            x, y = 4 * c + 2.5, 4 * r + 2.5
            inside = ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1
            assert bool(shapes[n, r, c]) == inside
    assert box_prior(torch.where(shapes, 50.0, -50.0), boxes, (64, 64)).item() == pytest.approx(0, abs=1e-4)
    assert box_prior(torch.full((2, 16, 16), -50.0), boxes, (64, 64)).item() == pytest.approx(1, abs=1e-4)
    none = torch.zeros(0, 16, 16, requires_grad=True)
    assert box_prior(none, boxes[:0], (64, 64)) == 0

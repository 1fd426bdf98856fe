"""Photometric terms: the true depth and motion explain the neighbours best, a still pixel teaches nothing, a constant is told."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.batch import Batch, Frames
from depthbox.models.sde_net import SdeOutputs
from depthbox.ops.geometry import rigid_motion
from depthbox.supervision.config import SdeConfig, SdeWeights
from depthbox.supervision.method import weigh
from depthbox.supervision.parts.photometric_terms import disparity_spread, lower_near, photometric_terms
from depthbox.supervision.selfsup import SelfSupervised

CONFIG = SdeConfig(nearest=1.0, farthest=10.0, scale_free=False)
INTRINSICS = torch.tensor([[0.75, 1.0, 0.5, 0.5]])
"""48 pixels of 64 x 48."""


def texture(width: int) -> Tensor:
    rough = torch.rand(1, 3, 12, width // 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(rough, size=(48, width), mode="bilinear", align_corners=False)


def wall(still: bool = False) -> Frames:
    """A wall 4 m away, the camera steps 0.25 m to the right a frame: 3 pixels."""
    wide = texture(80)
    views = [wide[..., start : start + 64] for start in ((8, 8, 8) if still else (8, 5, 11))]
    plain = torch.stack(views, 1)
    return Frames(plain=plain, strong=plain, intrinsics=INTRINSICS)


def said(depth_m: float, *, step_m: float = 0.25, grad: bool = False) -> SdeOutputs:
    value = (1 / depth_m - 0.1) / 0.9
    sigmoids = [torch.full((1, 1, 48 // s, 64 // s), value, requires_grad=grad) for s in (2, 4, 8, 16)]
    zero, step = torch.zeros(1, 3), torch.tensor([[step_m, 0.0, 0.0]])
    motions = torch.stack((rigid_motion(zero, step), rigid_motion(zero, -step)), 1)
    return SdeOutputs(sigmoids=sigmoids, motions=motions, features=torch.zeros(1, 4, 2, 2))


def photometric(found: SdeOutputs, frames: Frames, config: SdeConfig = CONFIG) -> tuple[float, float]:
    noise = 1e-5 * torch.randn(1, 2, 48, 64, generator=torch.Generator().manual_seed(0))
    terms, figures = photometric_terms(found, frames, config, noise)
    return float(terms["photometric"]), float(figures["moved_share"])


def test_the_true_depth_is_the_best():
    errors = {depth: photometric(said(depth), wall())[0] for depth in (2.0, 3.0, 4.0, 5.5, 8.0)}
    assert min(errors, key=errors.__getitem__) == 4.0 and errors[4.0] < 0.01 < errors[3.0]
    assert photometric(said(4.0), wall())[1] > 0.9


def test_the_wrong_direction_is_not_explained():
    assert photometric(said(4.0, step_m=-0.25), wall())[0] > 5 * photometric(said(4.0), wall())[0]


def test_scale_free_the_unit_of_depth_does_not_matter_and_its_shape_does():
    free = SdeConfig(nearest=1.0, farthest=1e6)
    ramp = torch.linspace(0.2, 0.4, 64).expand(1, 1, 48, 64)

    def error(level: Tensor) -> float:
        found = said(4.0)
        return photometric(SdeOutputs(sigmoids=[level], motions=found.motions, features=found.features), wall(), free)[
            0
        ]

    torch.testing.assert_close(error(ramp), error(2 * ramp), rtol=1e-3, atol=0)
    assert abs(error(ramp) - error(ramp.flip(-1) ** 3)) > 1e-3


def pushed_far(plain_rows: slice) -> Tensor:
    """The gradient of `still_far` by row, where these rows of all frames are one plain colour."""
    frames = wall()
    frames.plain[..., plain_rows, :] = 0.5
    found = said(4.0)
    sigmoid = found.sigmoids[0].detach().requires_grad_()
    found = SdeOutputs(sigmoids=[sigmoid], motions=found.motions, features=found.features)
    terms, _ = photometric_terms(found, frames, CONFIG, torch.full((1, 2, 48, 64), -1e-4))
    (grad,) = torch.autograd.grad(terms["still_far"], sigmoid)
    return grad.mean((0, 1, 3))


def test_a_plain_sky_is_held_to_be_far_and_a_plain_floor_is_not():
    sky, floor = pushed_far(slice(0, 16)), pushed_far(slice(32, 48))
    quarter, half = len(sky) // 4, len(sky) // 2
    assert (sky[:quarter] > 0).all() and (sky[half:] <= 0).all()
    assert float(floor[half:].max()) <= 0


def test_aligned_motions_explain_what_the_network_got_wrong():
    noise = torch.zeros(1, 2, 48, 64)
    found = said(4.0, step_m=0.15)
    found.motions.requires_grad_()
    as_said, _ = photometric_terms(said(4.0, step_m=0.15), wall(), CONFIG, noise)
    terms, _ = photometric_terms(found, wall(), CONFIG, noise, direct=True)
    assert float(terms["photometric"].detach()) < 0.5 * float(as_said["photometric"])
    assert float(as_said["motion"]) == 0 and float(terms["motion"].detach()) > 0
    # The network's translation is led towards the longer way.
    (grad,) = torch.autograd.grad(terms["motion"], found.motions)
    assert grad[0, 0, 0, 3] < 0 < grad[0, 1, 0, 3]


def test_nothing_is_learnt_where_nothing_moves():
    found = said(4.0, grad=True)
    terms, figures = photometric_terms(found, wall(still=True), CONFIG, torch.zeros(1, 2, 48, 64))
    terms["photometric"].backward()
    assert figures["moved_share"] == 0 and all(s.grad is None or s.grad.abs().max() == 0 for s in found.sigmoids)


def test_scales_that_are_switched_off_have_no_say():
    found = said(4.0, grad=True)
    terms, _ = photometric_terms(found, wall(), replace(CONFIG, scales=2), torch.zeros(1, 2, 48, 64))
    sum(terms.values()).backward()
    assert [s.grad is not None for s in found.sigmoids] == [True, True, False, False]


def test_a_depth_map_is_found_by_its_gradient():
    """From everywhere 6 m the disparity of the wall at 4 m comes out, given the motion."""
    logits = torch.full((1, 1, 24, 32), -2.5, requires_grad=True)
    optimizer, frames = torch.optim.Adam([logits], lr=0.1), wall()
    for _ in range(60):
        found = said(4.0)
        found = SdeOutputs(sigmoids=[logits.sigmoid()], motions=found.motions, features=found.features)
        terms, _ = photometric_terms(found, frames, replace(CONFIG, scales=1), torch.zeros(1, 2, 48, 64))
        optimizer.zero_grad()
        (terms["photometric"] + 1e-2 * terms["smoothness"]).backward()
        optimizer.step()
    depth = 1 / (0.1 + 0.9 * logits.detach().sigmoid()[..., 4:-4, 6:-6])
    assert (depth - 4).abs().median() < 0.4


def test_a_constant_has_no_spread():
    assert disparity_spread(torch.full((2, 1, 4, 4), 0.3), CONFIG) == 0
    assert disparity_spread(torch.rand(2, 1, 8, 8), CONFIG) > 0.3


class _Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, stride=8)
        self.level = nn.Parameter(torch.tensor(-1.0))

    def forward(self, frames: Frames) -> SdeOutputs:
        found = said(4.0)
        sigmoids = [torch.zeros_like(s) + self.level.sigmoid() for s in found.sigmoids]
        return SdeOutputs(sigmoids=sigmoids, motions=found.motions, features=self.backbone(frames.strong[:, 0]))


@pytest.mark.parametrize("distance", [0.0, 0.01])
def test_terms_meet_their_weights_and_the_draw_is_named_by_the_step(distance: float):
    student, frames = _Student(), wall()
    config = SdeConfig(weights=SdeWeights(feature_distance=distance))
    frozen = (lambda images: [student.backbone(images) + 1]) if distance else None
    method = SelfSupervised(config, steps=9, frozen=frozen)  # type: ignore[arg-type]
    batch = Batch(views=SimpleNamespace(), instances=[], frames=frames)  # type: ignore[arg-type]
    losses = [method.losses(student, batch, step).terms for step in (3, 3)]
    totals = [weigh(terms, method.weights, 3).detach() for terms in losses]
    assert totals[0] == totals[1] and torch.isfinite(totals[0])
    assert ("feature_distance" in losses[0]) == bool(distance)
    if distance:
        assert float(losses[0]["feature_distance"]) == pytest.approx(2.0)  # four channels, each 1 off


def test_what_is_low_begins_near_until_half_of_the_run():
    found = said(4.0)
    sigmoid = found.sigmoids[0].detach().requires_grad_()
    told = lower_near([sigmoid], CONFIG)
    (grad,) = torch.autograd.grad(told, sigmoid)
    rows = grad.mean((0, 1, 3))
    assert (rows[: len(rows) // 4] > 0).all() and (rows[-len(rows) // 4 :] < 0).all()
    ramp = torch.linspace(0.4, 1.6, 48)[:, None].expand(1, 1, 48, 64)
    nearest, farthest = 1 / CONFIG.nearest, 1 / CONFIG.farthest
    inverse = ramp * (nearest + farthest) / 4
    exact = (inverse - farthest) / (nearest - farthest)
    assert float(lower_near([exact], CONFIG)) < 1e-3 and float(lower_near([exact.flip(2)], CONFIG)) > 0.5
    built = SelfSupervised(SdeConfig(), steps=100, frozen=None)
    assert [round(built.weights["lower_near"](step), 3) for step in (0, 25, 50, 90)] == [0.1, 0.05, 0.0, 0.0]
    assert "lower_near" not in SelfSupervised(SdeConfig(), steps=100, frozen=None, knows_depth=True).weights
    assert (
        "lower_near" not in SelfSupervised(SdeConfig(weights=SdeWeights(lower_near=0.0)), steps=9, frozen=None).weights
    )

"""Points, pixels and motions: the published values, and cases whose answer is known."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from golden_values import golden_values
from torch import Tensor

from depthbox.ops.geometry import (
    back_project,
    depth_from_sigmoid,
    mirrored,
    pixel_intrinsics,
    project,
    rigid_motion,
    rotation_from_axis_angle,
    warp,
)

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
NORMALISED = torch.tensor([[0.8, 1.1, 0.45, 0.55]])


@pytest.fixture
def golden(shared: Path) -> Mapping[str, Tensor]:
    return golden_values(shared, "monodepth2_layers", folder="self_supervised_depth")


@pytest.mark.parametrize(("name", "nearest", "farthest"), [("0p1_100", 0.1, 100.0), ("1em3_80", 1e-3, 80.0)])
def test_depth_of_a_sigmoid_as_published(golden, name: str, nearest: float, farthest: float):
    inverse, depth = depth_from_sigmoid(golden["disp"], nearest=nearest, farthest=farthest)
    torch.testing.assert_close(inverse, golden[f"scaled_disp_{name}"], **CLOSE)
    torch.testing.assert_close(depth, golden[f"depth_{name}"], **CLOSE)


def test_motions_as_published(golden):
    turn, shift = golden["axisangle"][:, 0], golden["translation"][:, 0]
    torch.testing.assert_close(rigid_motion(turn, shift), golden["T_forward"], **CLOSE)
    torch.testing.assert_close(rigid_motion(turn, shift, invert=True), golden["T_inverted"], **CLOSE)


def test_points_pixels_and_warp_as_published(golden):
    camera = golden["K"][:, :3, :3]
    points = back_project(golden["depth_0p1_100"], camera)
    torch.testing.assert_close(points.flatten(2), golden["cam_points"][:, :3], **CLOSE)
    grid = project(points, camera, golden["T_forward"])
    torch.testing.assert_close(grid, golden["pix_coords"], **CLOSE)
    torch.testing.assert_close(warp(golden["img_x"], grid), golden["warped_align_true"], **CLOSE)


def test_a_camera_that_did_not_move_sees_the_same_pixels():
    image, depth = torch.rand(1, 3, 6, 9), 1 + torch.rand(1, 1, 6, 9)
    camera = pixel_intrinsics(NORMALISED, (6, 9))
    grid = project(back_project(depth, camera), camera, torch.eye(4)[None])
    torch.testing.assert_close(warp(image, grid), image, rtol=1e-4, atol=1e-4)


def test_a_step_aside_moves_a_wall_by_focal_length_times_step_over_depth():
    image = torch.rand(1, 3, 5, 20)
    camera = pixel_intrinsics(torch.tensor([[0.5, 2.0, 0.5, 0.5]]), (5, 20))  # 10 pixels
    motion = rigid_motion(torch.zeros(1, 3), torch.tensor([[0.6, 0.0, 0.0]]))
    seen = warp(image, project(back_project(torch.full((1, 1, 5, 20), 2.0), camera), camera, motion))
    torch.testing.assert_close(seen[..., :-3], image[..., 3:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [2, 3])
def test_normalised_intrinsics_do_not_know_the_size(scale: int):
    """The ray through the middle of a pixel is the mean ray through the pixels it was made from."""
    size, fine = (4, 6), (4 * scale, 6 * scale)
    coarse_rays, rays = (back_project(torch.ones(1, 1, *s), pixel_intrinsics(NORMALISED, s)) for s in (size, fine))
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(rays, scale), coarse_rays)


def test_a_mirror_image_is_the_mirrored_camera():
    rays = back_project(torch.ones(1, 1, 4, 6), pixel_intrinsics(NORMALISED, (4, 6)))
    other = back_project(torch.ones(1, 1, 4, 6), pixel_intrinsics(mirrored(NORMALISED), (4, 6)))
    torch.testing.assert_close(other, rays.flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1))


def test_no_rotation_has_a_finite_gradient():
    turn = torch.zeros(2, 3, requires_grad=True)
    rotation_from_axis_angle(turn)[:, 0, 1].sum().backward()
    assert turn.grad is not None and torch.isfinite(turn.grad).all()

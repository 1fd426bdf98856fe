"""The motion between two images, found from them and depth."""

import torch
import torch.nn.functional as F

from depthbox.ops.alignment import aligned, shrunk
from depthbox.ops.geometry import back_project, pixel_intrinsics, project, rigid_motion, warp

SIZE = (96, 128)
CAMERA = pixel_intrinsics(torch.tensor([[0.8, 1.1, 0.5, 0.45]]), SIZE)


def textured(seed: int) -> torch.Tensor:
    small = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, size=SIZE, mode="bicubic", align_corners=False).clamp(0, 1)


def depths() -> torch.Tensor:
    """A floor that comes nearer towards the lower edge, and a box on it."""
    depth = 1 / torch.linspace(0.2, 1.0, SIZE[0])[:, None].expand(SIZE).clone()
    depth[30:60, 40:80] = 1.6
    return depth[None, None]


def pair(truth: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = textured(seed)
    return warp(source, project(back_project(depths(), CAMERA), CAMERA, truth)), source


TRUTH = rigid_motion(torch.tensor([[0.01, -0.015, 0.005]]), torch.tensor([[0.03, -0.02, 0.06]]))


def test_a_motion_is_found_from_standing_still():
    target, source = pair(TRUTH)
    found = aligned(torch.eye(4)[None], depths(), target, source, CAMERA)
    assert (found - TRUTH).abs().max() < 0.15 * (torch.eye(4) - TRUTH).abs().max()
    assert not found.requires_grad


def test_images_of_a_batch_do_not_see_each_other():
    other = rigid_motion(torch.tensor([[0.0, 0.01, 0.0]]), torch.tensor([[-0.04, 0.0, 0.02]]))
    pairs = [pair(TRUTH), pair(other, seed=1)]
    target, source = (torch.cat(images) for images in zip(*pairs, strict=True))
    start, depth, camera = torch.eye(4).expand(2, 4, 4), depths().expand(2, -1, -1, -1), CAMERA.expand(2, -1, -1)
    both = aligned(start, depth, target, source, camera)
    for n, (one_target, one_source) in enumerate(pairs):
        alone = aligned(start[:1], depths(), one_target, one_source, CAMERA)
        torch.testing.assert_close(both[n : n + 1], alone, rtol=1e-3, atol=1e-4)


def test_nothing_to_hold_on_to_moves_nothing_and_stays_finite():
    grey = torch.full((1, 3, *SIZE), 0.5)
    found = aligned(TRUTH, depths(), grey, grey, CAMERA)
    torch.testing.assert_close(found, TRUTH)


def test_a_good_start_is_never_made_worse():
    target, source = pair(TRUTH)
    found = aligned(TRUTH, depths(), target, source, CAMERA)
    assert (found - TRUTH).abs().max() < 0.1 * (torch.eye(4) - TRUTH).abs().max()


def test_a_shrunk_camera_is_that_of_the_smaller_image():
    normal = torch.tensor([[0.8, 1.1, 0.5, 0.45]])
    torch.testing.assert_close(shrunk(CAMERA, 4), pixel_intrinsics(normal, (SIZE[0] // 4, SIZE[1] // 4)))

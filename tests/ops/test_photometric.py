"""The photometric error and the smoothness: the published values, and cases whose answer is known."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from golden_values import golden_values
from torch import Tensor

from depthbox.ops.photometric import edge_aware_smoothness, min_reprojection, photometric_error, ssim_distance

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def golden(shared: Path) -> Mapping[str, Tensor]:
    return golden_values(shared, "monodepth2_layers", folder="self_supervised_depth")


def test_ssim_and_smoothness_as_published(golden):
    torch.testing.assert_close(ssim_distance(golden["img_x"], golden["img_y"]), golden["ssim_map"], **CLOSE)
    disparity, image = golden["disp"], golden["img_x"]
    torch.testing.assert_close(edge_aware_smoothness(disparity, image), golden["smooth_loss"].squeeze(), **CLOSE)
    normal = disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
    torch.testing.assert_close(edge_aware_smoothness(normal, image), golden["smooth_loss_meannorm"].squeeze(), **CLOSE)


def test_an_image_explains_itself_and_nothing_worse_than_its_negative():
    image = (torch.rand(1, 3, 8, 8) > 0.5).float()
    assert photometric_error(image, image).abs().max() < 1e-6
    assert photometric_error(1 - image, image).min() > 0.5


def test_the_least_error_counts_and_a_still_pixel_is_told():
    warped = torch.tensor([[[[0.3, 0.9]], [[0.1, 0.8]]]])
    identity = torch.tensor([[[[0.5, 0.2]], [[0.6, 0.4]]]])
    least, moved = min_reprojection(warped, identity, torch.zeros_like(identity))
    torch.testing.assert_close(least, torch.tensor([[[0.1, 0.2]]]))
    assert moved.tolist() == [[[True, False]]]


def test_disparity_may_jump_where_the_image_does():
    step = torch.zeros(1, 1, 4, 8)
    step[..., 4:] = 1
    flat, edge = torch.zeros(1, 3, 4, 8), step.expand(1, 3, 4, 8)
    assert edge_aware_smoothness(step, edge) < 0.4 * edge_aware_smoothness(step, flat)
    assert edge_aware_smoothness(torch.full((1, 1, 4, 8), 0.7), flat) == 0


def test_the_gradient_is_that_of_the_plain_form():
    x, y = (torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def plain(x: Tensor, y: Tensor) -> Tensor:
        x, y = (F.pad(v, (1, 1, 1, 1), mode="reflect") for v in (x, y))
        mx, my, xx, yy, xy = (F.avg_pool2d(v, 3, 1) for v in (x, y, x * x, y * y, x * y))
        top = (2 * mx * my + 1e-4) * (2 * (xy - mx * my) + 9e-4)
        return ((1 - top / ((mx**2 + my**2 + 1e-4) * (xx + yy - mx**2 - my**2 + 9e-4))) / 2).clamp(0, 1)

    weight = torch.rand(1, 2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ssim_distance(x, y), plain(x, y))
    found, wanted = (torch.autograd.grad((f(x, y) * weight).sum(), (x, y)) for f in (ssim_distance, plain))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)

"""From one camera into another: pixels to points, points to pixels, an image seen from elsewhere (METHODS 3.1).

Intrinsics travel normalised by the image's size, "B 4" = fx, fy, u0, v0 with u0 = (cx + 0.5) / W where pixel centres are whole numbers: a resize
leaves them as they are, a mirror image has 1 - u0. Cameras look along +z, x to the right, y down.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "back_project",
    "depth_from_sigmoid",
    "mirrored",
    "pixel_intrinsics",
    "project",
    "rigid_motion",
    "rotation_from_axis_angle",
    "warp",
]

_TINY = 1e-7


def depth_from_sigmoid(values: Tensor, *, nearest: float = 0.1, farthest: float = 100.0) -> tuple[Tensor, Tensor]:
    """Inverse depth 1/farthest + (1/nearest - 1/farthest) * values, and depth, its inverse; `values` in (0, 1), 1 = nearest (monodepth2).

    >>> [float(v) for v in depth_from_sigmoid(torch.tensor(1.0), nearest=0.5, farthest=8.0)]
    [2.0, 0.5]
    """
    inverse = 1 / farthest + (1 / nearest - 1 / farthest) * values
    return inverse, 1 / inverse


def mirrored(intrinsics: Tensor) -> Tensor:
    """The intrinsics "B 4" of the images flipped left to right."""
    focal_x, focal_y, u0, v0 = intrinsics.unbind(-1)
    return torch.stack((focal_x, focal_y, 1 - u0, v0), -1)


def pixel_intrinsics(intrinsics: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Normalised "B 4" -> "B 3 3" in pixels of an image of that size, whose pixel centres are whole numbers."""
    height, width = size_hw
    focal_x, focal_y, u0, v0 = intrinsics.unbind(-1)
    zero, one = torch.zeros_like(u0), torch.ones_like(u0)
    rows = ((focal_x * width, zero, u0 * width - 0.5), (zero, focal_y * height, v0 * height - 0.5), (zero, zero, one))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def rotation_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rodrigues: "B 3", direction = axis, length = angle in radians, to rotations "B 3 3"."""
    angle = axis_angle.norm(dim=-1)[..., None, None]
    x, y, z = (axis_angle / (angle[..., 0] + _TINY)).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    axis = torch.stack((x, y, z), -1)
    outer = axis[..., :, None] * axis[..., None, :]
    identity = torch.eye(3, dtype=x.dtype, device=x.device)
    return angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * outer


def rigid_motion(axis_angle: Tensor, translation: Tensor, *, invert: bool = False) -> Tensor:
    """ "B 4 4": rotate, then translate "B 3"; inverted, the way back."""
    rotation, shift = rotation_from_axis_angle(axis_angle), translation[..., None]
    if invert:
        rotation = rotation.transpose(-1, -2)
        shift = -rotation @ shift
    motion = F.pad(torch.cat((rotation, shift), -1), (0, 0, 0, 1))
    motion[..., 3, 3] = 1
    return motion


def back_project(depth: Tensor, intrinsics_px: Tensor) -> Tensor:
    """The points "B 3 H W" that pixels of depth "B 1 H W" show: depth * K^-1 (x, y, 1)."""
    height, width = depth.shape[-2:]
    xs = torch.arange(width, dtype=depth.dtype, device=depth.device)
    ys = torch.arange(height, dtype=depth.dtype, device=depth.device)
    focal_x, focal_y = intrinsics_px[:, 0, 0, None], intrinsics_px[:, 1, 1, None]
    ray_x = ((xs - intrinsics_px[:, 0, 2, None]) / focal_x)[:, None, :].expand(-1, height, -1)
    ray_y = ((ys - intrinsics_px[:, 1, 2, None]) / focal_y)[:, :, None].expand(-1, -1, width)
    return depth * torch.stack((ray_x, ray_y, torch.ones_like(ray_x)), 1)


def project(points: Tensor, intrinsics_px: Tensor, motion: Tensor) -> Tensor:
    """Where the camera that sees the world moved by `motion` "B 4 4" sees the points: "B H W 2" in [-1, 1], pixel centres of the borders at +-1."""
    height, width = points.shape[-2:]
    camera = intrinsics_px @ motion[:, :3]
    x, y, z = (torch.einsum("bij,bjhw->bihw", camera[:, :, :3], points) + camera[:, :, 3, None, None]).unbind(1)
    scale = 2 / (z + _TINY)
    return torch.stack((x * scale / (width - 1) - 1, y * scale / (height - 1) - 1), -1)


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """The images "B C H W" read at `grid`, bilinear; outside of the image its border goes on."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)

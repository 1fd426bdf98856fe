"""How the camera moved, from depth and two images: direct alignment by Gauss-Newton, coarse to fine (DDVO, Wang et al., CVPR 2018; Kerl et al. 2013)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.ops.geometry import back_project, project, rigid_motion, warp

__all__ = ["aligned"]

STEPS = {8: 2, 4: 2, 2: 1}
"""How many at which stride of the images: one reaches about a cell's width, and the finest are the dearest."""

ROBUST = 0.05
"""Grey differences (0..1) beyond which a pixel counts less and less (Huber): what is covered or shines."""

LEAST_SEEN = 0.25
"""Of the image: a motion that leaves less of it in view explains nothing."""

DAMPING = 1e-3
_TINY = 1e-6


@torch.no_grad()
def aligned(motion: Tensor, depth: Tensor, target: Tensor, source: Tensor, camera: Tensor) -> Tensor:
    """The motions "B 4 4" (target's camera -> source's) near `motion` under which the source looks most like the target.

    `depth` "B 1 H W" of the target, images "B 3 H W" in 0..1, `camera` "B 3 3" in pixels. A step that does not lower the robust difference of an image is not
    taken. No gradient.
    """
    for stride, steps in STEPS.items():
        level = _Level(
            1 / F.avg_pool2d(1 / depth, stride),
            F.avg_pool2d(target.mean(1, keepdim=True), stride),
            F.avg_pool2d(source.mean(1, keepdim=True), stride),
            shrunk(camera, stride),
        )
        difference = level.difference(motion)
        for _ in range(steps):
            moved = level.step(motion)
            new = level.difference(moved)
            better = (new < difference) & moved.isfinite().all(2).all(1)
            motion = torch.where(better[:, None, None], moved, motion)
            difference = torch.where(better, new, difference)
    return motion


def shrunk(camera: Tensor, stride: int) -> Tensor:
    """The camera "B 3 3" of images whose pixels are means of `stride` x `stride`."""
    small = camera / stride
    small[:, :2, 2] = (camera[:, :2, 2] + 0.5) / stride - 0.5
    small[:, 2, 2] = 1
    return small


class _Level:
    """One size of one pair of images "B 1 h w"."""

    def __init__(self, depth: Tensor, target: Tensor, source: Tensor, camera: Tensor) -> None:
        self.points, self.target, self.camera = back_project(depth, camera), target, camera
        slopes = (source[..., 2:] - source[..., :-2]) / 2, (source[..., 2:, :] - source[..., :-2, :]) / 2
        self.source = torch.cat((source, F.pad(slopes[0], (1, 1, 0, 0)), F.pad(slopes[1], (0, 0, 1, 1))), 1)

    def difference(self, motion: Tensor) -> Tensor:
        """The mean Huber difference of each image, infinite where too little is seen: "B"."""
        seen, inside = self._seen(motion)
        error = F.huber_loss(seen[:, :1], self.target, reduction="none", delta=ROBUST)
        mean = (error * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)
        return mean.masked_fill(inside.mean((1, 2, 3)) < LEAST_SEEN, torch.inf)

    def step(self, motion: Tensor) -> Tensor:
        """The motion after one step of weighted least squares."""
        seen, inside = self._seen(motion)
        moved = torch.einsum("bij,bjhw->bihw", motion[:, :3, :3], self.points) + motion[:, :3, 3, None, None]
        x, y, z = moved.unbind(1)
        z = z.clamp(min=_TINY)
        along_x = seen[:, 1] * self.camera[:, 0, 0, None, None] / z
        along_y = seen[:, 2] * self.camera[:, 1, 1, None, None] / z
        force = torch.stack((along_x, along_y, -(along_x * x + along_y * y) / z), 1)
        rows = torch.cat((force, torch.linalg.cross(moved, force, dim=1)), 1).flatten(2)
        residual = (seen[:, 0] - self.target[:, 0]).flatten(1)
        weight = inside[:, 0].flatten(1) * (ROBUST / residual.abs().clamp(min=ROBUST))
        weighted = rows * weight[:, None]
        normal = weighted @ rows.transpose(1, 2)
        normal = normal + torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + _TINY)
        change = torch.linalg.solve_ex(normal, -(weighted @ residual[..., None]))[0][..., 0]
        return rigid_motion(change[:, 3:], change[:, :3]) @ motion

    def _seen(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Grey value and slopes where each pixel is seen, and whether that is within the image."""
        grid = project(self.points, self.camera, motion)
        behind = (motion[:, 2:3, :3] @ self.points.flatten(2) + motion[:, 2:3, 3:]).view_as(self.target) <= _TINY
        inside = (grid.abs() <= 1).all(-1)[:, None] & ~behind
        return warp(self.source, grid), inside.float()

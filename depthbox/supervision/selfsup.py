"""Depth from video without any depth: whatever depth and motion make the neighbouring frames look like this one (METHODS 3.1; Godard et al. 2019)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.batch import Batch, Frames
from depthbox.core.dist import rank
from depthbox.core.rng import torch_generator
from depthbox.core.schedule import Schedule, constant
from depthbox.models.sde_net import SdeOutputs
from depthbox.ops.geometry import back_project, depth_from_sigmoid, pixel_intrinsics, project, warp
from depthbox.ops.photometric import edge_aware_smoothness, min_reprojection, photometric_error
from depthbox.supervision.config import SdeConfig
from depthbox.supervision.method import Losses, Teacherless

__all__ = ["SelfSupervised", "disparity_spread", "photometric_terms"]

_NOISE = 1e-5


class SelfSupervised(Teacherless):
    """`Method` on `Batch.frames`. `frozen` is the encoder that `feature_distance` measures from; None without that term."""

    def __init__(self, config: SdeConfig, *, frozen: nn.Module | None) -> None:
        self.config, self.frozen = config, frozen
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.weights, name))
            for name in config.weights.__slots__
            if name != "feature_distance" or frozen is not None
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        frames = batch.frames
        assert frames is not None, "self-supervision needs frames"
        found: SdeOutputs = student(frames)
        noise = _noise(frames, step)
        terms, figures = photometric_terms(found, frames, self.config, noise)
        if self.frozen is not None:
            terms["feature_distance"] = self._feature_distance(found.features, frames.strong[:, 0])
        return Losses(terms=terms, figures=figures)

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.frozen is None else {"frozen": self.frozen}

    def _feature_distance(self, features: Tensor, images: Tensor) -> Tensor:
        """Mean over the cells of ||F - F_start||_2 of the deepest features."""
        assert self.frozen is not None
        with torch.no_grad():
            start = self.frozen(images)[-1].float()
        return (features - start).norm(dim=1).mean()


def photometric_terms(
    found: SdeOutputs, frames: Frames, config: SdeConfig, noise: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`photometric`, `smoothness` (means over scales, the smoothness of scale s divided by 2^s), and figures to watch."""
    target, *sources = frames.plain.unbind(1)
    size_hw = (target.shape[-2], target.shape[-1])
    camera = pixel_intrinsics(frames.intrinsics, size_hw)
    with torch.no_grad():
        identity = torch.cat([photometric_error(source, target) for source in sources], 1)
    photometric, smoothness, moved = [], [], target.new_zeros(())
    for scale, sigmoid in enumerate(found.sigmoids[: config.scales]):
        full = F.interpolate(sigmoid, size=size_hw, mode="bilinear", align_corners=False)
        warped = _warped_errors(_depth(full, config), camera, found.motions, target, sources)
        least, won = min_reprojection(warped, identity, noise)
        photometric.append(least.mean())
        smoothness.append(_smoothness(sigmoid, target, config) / 2**scale)
        moved = won.float().mean() if scale == 0 else moved
    terms = {"photometric": torch.stack(photometric).mean(), "smoothness": torch.stack(smoothness).mean()}
    figures = {"disparity_spread": disparity_spread(found.sigmoids[0].detach(), config), "moved_share": moved}
    return terms, figures


def disparity_spread(sigmoid: Tensor, config: SdeConfig) -> Tensor:
    """Deviation of inverse depth over its mean, per image "B 1 h w", then the mean: near 0 the depth has collapsed to a constant."""
    inverse, _ = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
    return (inverse.std((1, 2, 3)) / inverse.mean((1, 2, 3))).mean()


def _depth(sigmoid: Tensor, config: SdeConfig) -> Tensor:
    """Depth for the warp. `scale_free`: in the unit in which the mean inverse depth of the image is that of a sigmoid of 0.5.

    Video knows depth and translation up to one factor. Without that the two chase each other, depth is the quicker one, and ends at `nearest`.
    """
    inverse, depth = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
    if not config.scale_free:
        return depth
    middle = (1 / config.nearest + 1 / config.farthest) / 2
    return inverse.mean((2, 3), keepdim=True) / (middle * inverse)


def _warped_errors(depth: Tensor, camera: Tensor, motions: Tensor, target: Tensor, sources: Sequence[Tensor]) -> Tensor:
    points = back_project(depth, camera)
    errors = [
        photometric_error(warp(source, project(points, camera, motions[:, i])), target)
        for i, source in enumerate(sources)
    ]
    return torch.cat(errors, 1)


def _smoothness(sigmoid: Tensor, target: Tensor, config: SdeConfig) -> Tensor:
    """At the scale's own size, of the sigmoid divided by its mean over the image."""
    normal = sigmoid / (sigmoid.mean((2, 3), keepdim=True) + 1e-7)
    return edge_aware_smoothness(normal, F.interpolate(target, size=sigmoid.shape[-2:], mode="area"))


def _noise(frames: Frames, step: int) -> Tensor:
    """Drawn on the CPU, by step and rank: the same whatever the device, and after a resume."""
    batch, count, _, height, width = frames.plain.shape
    draw = torch.randn((batch, count - 1, height, width), generator=torch_generator("auto-mask", step, rank()))
    return (_NOISE * draw).to(frames.plain.device)

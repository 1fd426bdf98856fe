"""How well predicted depth and motion make the neighbouring frames look like this one, as losses (METHODS 3.1; Godard et al. 2019)."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.batch import Frames
from depthbox.core.dist import rank
from depthbox.core.rng import torch_generator
from depthbox.models.sde_net import SdeOutputs
from depthbox.ops.alignment import aligned
from depthbox.ops.geometry import back_project, depth_from_sigmoid, pixel_intrinsics, project, warp
from depthbox.ops.photometric import edge_aware_smoothness, min_reprojection, photometric_error

__all__ = ["VideoTerms", "disparity_spread", "lower_near", "photometric_terms", "tie_noise"]

_NOISE = 1e-5


class VideoTerms(Protocol):
    """The limits of predicted depth, how many disparities learn, and whether the scale of an image is taken out of its error."""

    @property
    def nearest(self) -> float: ...
    @property
    def farthest(self) -> float: ...
    @property
    def scales(self) -> int: ...
    @property
    def scale_free(self) -> bool: ...


def photometric_terms(
    found: SdeOutputs, frames: Frames, config: VideoTerms, noise: Tensor, *, direct: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """`photometric`, `smoothness` (means over scales, the smoothness of scale s divided by 2^s), and figures to watch.

    `still_far` (ours) is the inverse depth, over the image's mean, of pixels above the middle that standing still explains best, mean over all pixels: a plain
    sky looks the same wherever it is. So does a plain floor or door, which is why the lower half is left alone.

    `direct`: motions are those of the network, aligned to the images (`ops.alignment`); `motion` is then what the network learns them by, and 0 without.
    """
    target, *sources = frames.plain.unbind(1)
    size_hw = (target.shape[-2], target.shape[-1])
    camera = pixel_intrinsics(frames.intrinsics, size_hw)
    with torch.no_grad():
        identity = torch.cat([photometric_error(source, target) for source in sources], 1)
    motions, motion = _aligned(found, frames, config, camera) if direct else (found.motions, 0 * found.motions.sum())
    photometric, smoothness, moved, still_far = [], [], target.new_zeros(()), target.new_zeros(())
    for scale, sigmoid in enumerate(found.sigmoids[: config.scales]):
        full = F.interpolate(sigmoid, size=size_hw, mode="bilinear", align_corners=False)
        warped = _warped_errors(_depth(full, config), camera, motions, target, sources)
        least, won = min_reprojection(warped, identity, noise)
        photometric.append(least.mean())
        smoothness.append(_smoothness(sigmoid, target, config) / 2**scale)
        if scale == 0:
            moved, still_far = won.float().mean(), _still_far(full, won, config)
    terms = {
        "photometric": torch.stack(photometric).mean(),
        "smoothness": torch.stack(smoothness).mean(),
        "motion": motion,
        "still_far": still_far,
    }
    figures = {"disparity_spread": disparity_spread(found.sigmoids[0].detach(), config), "moved_share": moved}
    return terms, figures


def disparity_spread(sigmoid: Tensor, config: VideoTerms) -> Tensor:
    """Deviation of inverse depth over its mean, per image "B 1 h w", then the mean: near 0 the depth has collapsed to a constant."""
    inverse, _ = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
    return (inverse.std((1, 2, 3)) / inverse.mean((1, 2, 3))).mean()


def _depth(sigmoid: Tensor, config: VideoTerms) -> Tensor:
    """Depth for the warp. `scale_free`: in the unit in which the mean inverse depth of the image is that of a sigmoid of 0.5.

    Video knows depth and translation up to one factor. Without that the two chase each other, depth is the quicker one, and ends at `nearest`.
    """
    inverse, depth = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
    if not config.scale_free:
        return depth
    middle = (1 / config.nearest + 1 / config.farthest) / 2
    return inverse.mean((2, 3), keepdim=True) / (middle * inverse)


def lower_near(sigmoids: Sequence[Tensor], config: VideoTerms) -> Tensor:
    """Mean |inverse depth over the image's mean - ramp| over scales and pixels, the ramp from 0.4 in the top row to 1.6 in the bottom one (ours).

    A camera that turns and moves sideways sees nearly the same where near and far are exchanged and it moves the other way: somebody has to say which.
    """
    errors = []
    for sigmoid in sigmoids[: config.scales]:
        inverse, _ = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
        ramp = torch.linspace(0.4, 1.6, inverse.shape[-2], device=inverse.device)[:, None]
        errors.append((inverse / inverse.mean((2, 3), keepdim=True) - ramp).abs().mean())
    return torch.stack(errors).mean()


def _still_far(sigmoid: Tensor, won: Tensor, config: VideoTerms) -> Tensor:
    """Over the mean with its gradient: where nothing moves, nothing is said."""
    inverse, _ = depth_from_sigmoid(sigmoid, nearest=config.nearest, farthest=config.farthest)
    above = torch.arange(inverse.shape[-2], device=inverse.device)[:, None] < inverse.shape[-2] // 2
    return (inverse / inverse.mean((2, 3), keepdim=True) * (above & ~won.view_as(inverse))).mean()


def _aligned(found: SdeOutputs, frames: Frames, config: VideoTerms, camera: Tensor) -> tuple[Tensor, Tensor]:
    """The aligned motions "B S 4 4", without a gradient, and how far the network's are from them: mean |difference| of their entries."""
    target, *sources = frames.plain.unbind(1)
    size_hw, count = (target.shape[-2], target.shape[-1]), len(sources)
    sigmoid = F.interpolate(found.sigmoids[0].detach(), size=size_hw, mode="bilinear", align_corners=False)
    depth = _depth(sigmoid, config)
    motions = aligned(
        found.motions.detach().flatten(0, 1),
        depth.repeat_interleave(count, 0),
        target.repeat_interleave(count, 0),
        torch.stack(sources, 1).flatten(0, 1),
        camera.repeat_interleave(count, 0),
    ).view_as(found.motions)
    return motions, (found.motions - motions).abs().mean()


def _warped_errors(depth: Tensor, camera: Tensor, motions: Tensor, target: Tensor, sources: Sequence[Tensor]) -> Tensor:
    points = back_project(depth, camera)
    errors = [
        photometric_error(warp(source, project(points, camera, motions[:, i])), target)
        for i, source in enumerate(sources)
    ]
    return torch.cat(errors, 1)


def _smoothness(sigmoid: Tensor, target: Tensor, config: VideoTerms) -> Tensor:
    """At the scale's own size, of the sigmoid divided by its mean over the image."""
    normal = sigmoid / (sigmoid.mean((2, 3), keepdim=True) + 1e-7)
    return edge_aware_smoothness(normal, F.interpolate(target, size=sigmoid.shape[-2:], mode="area"))


def tie_noise(frames: Frames, step: int) -> Tensor:
    """What breaks the ties of a still image, drawn on the CPU, by step and rank: the same whatever the device, and after a resume."""
    batch, count, _, height, width = frames.plain.shape
    draw = torch.randn((batch, count - 1, height, width), generator=torch_generator("auto-mask", step, rank()))
    return (_NOISE * draw).to(frames.plain.device)

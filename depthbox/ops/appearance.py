"""Other colours and a blur for images that are tensors already: what a mixture of two photos is given (the data stage does the same to photos)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["blurred", "recoloured"]

_GREY = (0.299, 0.587, 0.114)
_RADIUS = 4
"""Of the blur's kernel in pixels: 3.5 deviations of the widest published one, 1.15."""


def recoloured(images: Tensor, changes: Tensor) -> Tensor:
    """Images "B 3 H W" in 0..1 with `changes` "B 4": factors of brightness, contrast (about the mean grey) and saturation, a turn of the hue (1: the circle).

    One linear map a pixel, clamped to 0..1 at its end; photo editors clamp between the steps. (1, 1, 1, 0) changes nothing.
    """
    brightness, contrast, saturation, turn = (c[:, None, None] for c in changes.to(images).unbind(1))
    grey = images.new_tensor(_GREY).expand(3, 3)
    eye = torch.eye(3, device=images.device, dtype=images.dtype)
    linear = brightness * contrast * (saturation * eye + (1 - saturation) * grey) @ _hue_turns(turn)
    mean = (images.mean((2, 3)) @ images.new_tensor(_GREY))[:, None, None, None]
    shift = brightness[..., None] * (1 - contrast[..., None]) * mean
    return (torch.einsum("bij,bjhw->bihw", linear, images) + shift).clamp(0, 1)


def _hue_turns(turn: Tensor) -> Tensor:
    """Rotations "B 3 3" about the grey axis (Rodrigues); `turn` "B 1 1" in parts of the circle."""
    angle = 2 * math.pi * turn
    third, cross = angle.cos().neg().add(1) / 3, angle.sin() / math.sqrt(3)
    axis = turn.new_tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return angle.cos() * torch.eye(3, device=turn.device, dtype=turn.dtype) + third + cross * axis


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian blur of images "B C H W" with a deviation each ("B", pixels; 0 leaves an image as it is), mirrored at the border."""
    count, channels, height, width = images.shape
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=images.device, dtype=images.dtype)
    kernels = torch.exp(-0.5 * (offsets / sigmas.to(images).clamp(min=1e-3)[:, None]).square())
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = F.pad(images.reshape(1, count * channels, height, width), (_RADIUS,) * 4, mode="reflect")
    rows = F.conv2d(flat, kernels[:, :, None], groups=count * channels)
    return F.conv2d(rows, kernels[..., None], groups=count * channels).view(images.shape)

"""Colour as people see differences in it."""

import torch
from torch import Tensor

__all__ = ["rgb_to_lab"]

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE_D65 = (0.95047, 1.0, 1.08883)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab (D65, 2 degrees) of sRGB "B 3 H W" in 0..1: L in 0..100, a and b about -100..100.

    Own arithmetic because a bare GPU machine must train without a colour library; equal to scikit-image's to 1e-3.
    """
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,bjhw->bihw", rgb.new_tensor(_TO_XYZ), linear) / rgb.new_tensor(_WHITE_D65)[:, None, None]
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-8) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)

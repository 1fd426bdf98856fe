"""The built-in depth network as an estimator: shipped with the package, works offline, needs no option; or another file of `depthbox depth train`."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from depthbox.core.errors import InputError
from depthbox.depth.estimator import normalised
from depthbox.models.depth_net import BUILTIN_WEIGHTS, DepthNetwork, NetworkNote, load_network

__all__ = ["BuiltinDepth"]

_LONGEST = 4
"""A panorama is shrunk until its long side is at most this many input short sides: no photo exhausts the memory."""

_PROCEDURE = b"depthbox-builtin-1"
"""Part of the digest: change it whenever resizing, normalising or anything else around the network changes."""


class BuiltinDepth:
    """A `DepthEstimator`; a map has the photo's aspect and the network's input short side (192 pixels).

    Single precision, one photo at a time, so that a map's bits do not depend on its neighbours. The network is loaded
    at the first image. A photo without any relief becomes 0, which `checked` calls constant.
    """

    name = "builtin"
    cached = True

    def __init__(self, *, device: str = "cpu", weights: Path = BUILTIN_WEIGHTS) -> None:
        self.device, self._weights = device, weights
        try:
            self.digest = hashlib.sha256(_PROCEDURE + weights.read_bytes()).hexdigest()
        except OSError as error:
            cause = f"the depth network cannot be read ({error.strerror or error})"
            mend = "install depthbox again" if weights == BUILTIN_WEIGHTS else "check the path"
            raise InputError(weights, "", cause, f"{mend}, or name another depth.source") from error

    def disparity(self, images: list[np.ndarray], paths: list[str]) -> list[np.ndarray]:
        return [self._one(image) for image in images]

    @torch.inference_mode()
    def _one(self, image: np.ndarray) -> np.ndarray:
        network, note = self._loaded
        size_hw = inner_size(image.shape[:2], note.input_short_side)
        raw = network(_input(image, size_hw, note).to(self.device))
        return normalised(F.interpolate(raw, size=size_hw, mode="bilinear", align_corners=False)[0, 0].cpu().numpy())

    @functools.cached_property
    def _loaded(self) -> tuple[DepthNetwork, NetworkNote]:
        network, note = load_network(self._weights)
        return network.to(self.device), note


def inner_size(size_hw: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """The photo's aspect at this short side, smaller where the long side would pass `_LONGEST` of them."""
    scale = min(short_side / min(size_hw), _LONGEST * short_side / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def _input(image: np.ndarray, size_hw: tuple[int, int], note: NetworkNote) -> Tensor:
    """Normalised "1 3 h w", both sides the nearest multiple of 32 (a little stretched rather than padded)."""
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    rounded = [max(1, round(side / 32)) * 32 for side in size_hw]
    resized = F.interpolate(pixels, size=rounded, mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (note.mean, note.std))
    return (resized - mean) / std

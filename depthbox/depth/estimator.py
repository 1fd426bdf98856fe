"""Image -> disparity: the protocol, what a map means, what is refused of it, and which estimators there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from depthbox.core.errors import InputError, UsageError

__all__ = [
    "ASPECT_TOLERANCE",
    "BadDepth",
    "DepthEstimator",
    "build_estimator",
    "checked",
    "name_of",
    "normalised",
    "same_aspect",
]

ASPECT_TOLERANCE = 0.02
"""How much the aspect of a map may differ from its image's, as a fraction; rounding of one pixel is always allowed."""

_RANGE_TOLERANCE = 1e-3
"""Slack of [0, 1], and the spread below which a map is constant: float16 steps near 1 are half of it."""

_FORMS = "none, builtin, builtin:FILE, maps:DIR, hf:NAME_OR_FOLDER, run:FOLDER"


class BadDepth(InputError):
    """The map of one image cannot be used; the other images of the batch are not concerned."""


class DepthEstimator(Protocol):
    """Images to disparity: float32 (h, w) in [0, 1], 1 = nearest, NaN = not measured, of the image's aspect."""

    @property
    def name(self) -> str:
        """What messages call it, e.g. "hf:Intel/dpt-large"."""
        ...

    @property
    def digest(self) -> str:
        """Hex that changes whenever the maps would: weights, input size, conversion."""
        ...

    @property
    def cached(self) -> bool:
        """Its maps are worth keeping; False where they already are files and reading them is no inference."""
        ...

    def disparity(self, images: list[np.ndarray], paths: list[str]) -> list[np.ndarray]:
        """One map for each image (u8 "H W 3", RGB; sizes may differ). `paths` name the photos; networks ignore them."""
        ...


def normalised(inverse_depth: np.ndarray) -> np.ndarray:
    """Disparity float32 of 1/z in any unit, by min-max over the known (not NaN) pixels (METHODS conventions).

    Sky is known, with 1/z = 0. A map whose spread is rounding noise becomes 0, so that `checked` calls it constant;
    infinite values are left for `checked` to refuse.
    """
    values = np.asarray(inverse_depth, np.float32)
    known = values[~np.isnan(values)]
    if known.size == 0 or np.isinf(known).any():
        return values
    low, high = known.min(), known.max()
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return np.where(np.isnan(values), values, np.float32(0))
    return ((values - low) / (high - low)).astype(np.float32)


def same_aspect(map_hw: tuple[int, int], image_hw: tuple[int, int]) -> bool:
    """The map stretched to the image's height is as wide as the image, within 2 % or a pixel of the coarser one."""
    (h, w), (height, width) = map_hw, image_hw
    if 0 in (h, w, height, width):
        return False
    coarse = max(1.0, height / h, width / w)
    return abs(w * height / h - width) <= max(ASPECT_TOLERANCE * width, coarse)


def checked(disparity: np.ndarray, image: np.ndarray, *, path: str, estimator: str) -> np.ndarray:
    """The map as float32 in [0, 1]; some NaN are allowed.

    Raises `BadDepth` naming photo and estimator: all NaN, constant, wrong shape or aspect, infinite, out of range.
    """
    values = np.asarray(disparity)
    fault = _shape_fault(values.shape, image.shape[:2]) or _value_fault(values)
    if fault:
        raise BadDepth(
            path, f"depth by {estimator}", fault, "look at it with `depthbox depth run`, or try another depth.source"
        )
    return np.clip(values, 0, 1).astype(np.float32)


def _shape_fault(shape: tuple[int, ...], image_hw: tuple[int, int]) -> str:
    if len(shape) != 2:
        return f"the map has shape {shape}; allowed is (height, width)"
    if not same_aspect((shape[0], shape[1]), image_hw):
        have, want = (f"{size[0]}x{size[1]}" for size in (shape, image_hw))
        return f"the map is {have}, the photo {want} (height x width): not the same aspect"
    return ""


def _value_fault(values: np.ndarray) -> str:
    if values.dtype.kind != "f":
        return f"the map holds {values.dtype}; allowed are floats in [0, 1]"
    if np.isinf(values).any():
        return "the map has infinite values"
    known = values[~np.isnan(values)]
    if known.size == 0:
        return "the map is NaN everywhere"
    low, high = float(known.min()), float(known.max())
    if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
        return f"the map spans {low:.4g} to {high:.4g}; allowed is 0 to 1"
    if high - low < _RANGE_TOLERANCE:
        return f"the map is constant ({low:.4g} everywhere)"
    return ""


def name_of(estimator: DepthEstimator) -> str:
    return getattr(estimator, "name", type(estimator).__name__)


def build_estimator(
    spec: str, *, device: str = "cpu", maps_kind: str = "depth_mm", maps_zero: str = "far"
) -> DepthEstimator | None:
    """The estimator of a `depth.source`: none | builtin | builtin:FILE | maps:DIR | hf:NAME_OR_FOLDER | run:FOLDER.

    Raises `UsageError` for an unknown form and `InputError` where folder, weights or network are missing. Networks are
    loaded at the first image, so a run that finds everything in the cache never loads one.
    """
    form, _, rest = spec.partition(":")
    if spec == "none":
        return None
    if spec == "builtin" or (form == "builtin" and rest):
        from depthbox.depth.builtin import BuiltinDepth

        return BuiltinDepth(device=device, weights=Path(rest)) if rest else BuiltinDepth(device=device)
    if form == "maps" and rest:
        from depthbox.depth.maps import MapsDepth

        return MapsDepth(rest, kind=maps_kind, zero=maps_zero)
    if form == "hf" and rest:
        from depthbox.depth.pretrained import PretrainedDepth

        return PretrainedDepth(rest, device=device)
    if form == "run" and rest:
        from depthbox.depth.trained import TrainedDepth

        return TrainedDepth(rest, device=device)
    raise UsageError(f"depth.source={spec!r}: {_hint(form, rest)}allowed are {_FORMS}")


def _hint(form: str, rest: str) -> str:
    import difflib

    wanted = {"maps": "folder", "hf": "name or folder", "run": "folder", "builtin": "file of `depthbox depth train`"}
    if form in wanted:
        return f"'{form}:' needs a {wanted[form]} after the colon; "
    near: Sequence[str] = difflib.get_close_matches(form, ["none", "builtin", "maps", "hf", "run"], n=1)
    return f"did you mean {near[0]}{':' + rest if rest else ''}? " if near else ""

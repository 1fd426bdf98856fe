"""The intrinsics of a camera, normalised by the size of its image: read, checked, refused in words where they cannot be of these frames.

One JSON file, in the folder of the frames or above it: `intrinsics.json` of our own, a `*_camera.json` of Cityscapes, or KITTI's calib_cam_to_cam.txt.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.data.decode import shown

__all__ = ["Intrinsics", "read_intrinsics"]

FILE = "intrinsics.json"
_FORM = 'write {"fx": 200, "fy": 200, "cx": 128, "cy": 96, "width": 256, "height": 192} in pixels, or fx, fy, cx, cy as shares of the image'
_KEYS = ("fx", "fy", "cx", "cy")
_INTEGER_CENTRES = "integer"
_LARGEST = 1e9
"""No camera has so many pixels; a longer integer would not even be a float."""
_LARGEST_SHARE = 10.0
"""A focal length above so many image sizes is a number of pixels: it would be a lens of 6 degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrinsics:
    """Focal lengths and principal point as shares of width and height, pixel edges at 0 and 1."""

    fx: float
    fy: float
    u0: float
    v0: float

    @property
    def values(self) -> tuple[float, float, float, float]:
        return self.fx, self.fy, self.u0, self.v0


def read_intrinsics(folder: Path, *, root: Path, size_hw: tuple[int, int], first: Path) -> Intrinsics:
    """Of the frames in `folder`, of `size_hw` pixels: from the nearest file in the folder or above it, up to the folder of `root`. Raises `InputError`."""
    places = _upwards(folder, root)
    for number, place in enumerate(places):
        if (file := place / FILE).is_file():
            return _own(file, size_hw, above=[p / FILE for p in places[number + 1 :]])
        if (file := place / "calib_cam_to_cam.txt").is_file():
            return _kitti(file, size_hw)
    if (camera := _cityscapes_file(first)) is not None:
        return _cityscapes(camera, size_hw)
    raise InputError(folder, "", f"no {FILE} in it or above it", _FORM)


def _upwards(folder: Path, root: Path) -> list[Path]:
    """The folder and what is above it, up to one above the root (where the root is a sequence); outside of the root one folder up."""
    above = [folder, *folder.parents]
    return above[: above.index(root) + 2] if root in above else above[:2]


def _own(file: Path, size_hw: tuple[int, int], above: Sequence[Path]) -> Intrinsics:
    said = _json(file)
    values = {key: _number(said, key, file) for key in _KEYS}
    has_size = "width" in said or "height" in said
    share = max(values["fx"], values["fy"]) <= _LARGEST_SHARE and max(values["cx"], values["cy"]) <= 1
    if not has_size:
        if not share:
            cause = f"fx = {values['fx']:g}, cx = {values['cx']:g} are pixels, and without width and height shares of the image are expected"
            raise InputError(file, "", cause, "add the width and height of the image that these pixels are of")
        return _checked(Intrinsics(fx=values["fx"], fy=values["fy"], u0=values["cx"], v0=values["cy"]), file)
    width, height = _number(said, "width", file), _number(said, "height", file)
    if share:
        cause = f"fx = {values['fx']:g}, cx = {values['cx']:g} look like shares of the image, but width and height say pixels"
        raise InputError(file, "", cause, "give pixels, or leave width and height out")
    if any(0 < values[key] <= most for key, most in zip(_KEYS, (_LARGEST_SHARE,) * 2 + (1,) * 2, strict=True)):
        cause = f"fx = {values['fx']:g}, cx = {values['cx']:g}: some are pixels, some shares of the image"
        raise InputError(file, "", cause, _FORM)
    in_the_middle = (values["cx"], values["cy"]) == ((width - 1) / 2, (height - 1) / 2)
    above_it = (_centres(_json(other), other) for other in above if other.is_file())
    centres = _centres(said, file) or next(filter(None, above_it), _INTEGER_CENTRES if in_the_middle else "")
    return _normalised(values, (height, width), size_hw, file, integer_centres=centres.startswith(_INTEGER_CENTRES))


def _normalised(
    values: Mapping[str, float],
    said_hw: tuple[float, float],
    size_hw: tuple[int, int],
    file: Path,
    *,
    integer_centres: bool,
) -> Intrinsics:
    height, width = said_hw
    if (height, width) != size_hw:
        cause = f"is of images {width:g}x{height:g}, the frames are {size_hw[1]}x{size_hw[0]} (width x height)"
        next_step = "write the intrinsics of these very frames; where they were resized, multiply fx and cx by the ratio of widths, fy and cy by that of heights"
        raise InputError(file, "", cause, next_step)
    half = 0.5 if integer_centres else 0.0
    found = Intrinsics(
        fx=values["fx"] / width,
        fy=values["fy"] / height,
        u0=(values["cx"] + half) / width,
        v0=(values["cy"] + half) / height,
    )
    return _checked(found, file)


def _checked(found: Intrinsics, file: Path) -> Intrinsics:
    if not (0.05 < found.fx <= _LARGEST_SHARE and 0.05 < found.fy <= _LARGEST_SHARE):  # nor a NaN
        cause = f"a focal length of {found.fx:.3g} image widths and {found.fy:.3g} heights is no camera's"
        raise InputError(file, "", cause, _FORM)
    if not (0 < found.u0 < 1 and 0 < found.v0 < 1):
        cause = f"the principal point lies outside of the image, at ({found.u0:.3g}, {found.v0:.3g}) of its size"
        raise InputError(file, "", cause, _FORM)
    return found


def _json(file: Path) -> dict:
    try:
        said = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(file, "", f"cannot be read as JSON ({error})", _FORM) from None
    if not isinstance(said, dict):
        raise InputError(file, "", f"holds a {type(said).__name__}, not an object", _FORM)
    return said


def _number(said: Mapping, key: str, file: Path) -> float:
    value = said.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST < value < _LARGEST:
        what = "is missing" if key not in said else f"is {shown(value)}, not a number"
        raise InputError(file, key, what, _FORM)
    return float(value)


def _centres(said: Mapping, file: Path) -> str:
    """`"pixel_centres": "integer coordinates"` says that the centre of the first pixel is 0; it is 0.5 unless a file says so, here or above, or the principal
    point is exactly the middle of those."""
    value = str(said.get("pixel_centres", ""))
    if value and not value.startswith((_INTEGER_CENTRES, "half")):
        raise InputError(file, "pixel_centres", f"is {value!r}", "allowed: 'integer coordinates', 'half coordinates'")
    return value


def _cityscapes_file(first: Path) -> Path | None:
    """leftImg8bit_sequence/train/aachen/aachen_000000_000004_leftImg8bit.png -> the one of camera/train/aachen of that sequence."""
    match = re.match(r"(.+_\d{6})_\d{6}_leftImg8bit$", first.stem)
    if match is None or len(first.parents) < 4:
        return None
    split, city = first.parents[1].name, first.parent.name
    found = sorted((first.parents[3] / "camera" / split / city).glob(f"{match[1]}_*_camera.json"))
    return found[0] if found else None


def _cityscapes(file: Path, size_hw: tuple[int, int]) -> Intrinsics:
    """Cityscapes' frames are 2048x1024 and its cameras are calibrated at that size."""
    inner = _json(file).get("intrinsic")
    if not isinstance(inner, dict):
        raise InputError(file, "intrinsic", "is missing", "take the file of Cityscapes' camera package as it is")
    values = {key: _number(inner, name, file) for key, name in zip(_KEYS, ("fx", "fy", "u0", "v0"), strict=True)}
    return _normalised(values, (1024.0, 2048.0), size_hw, file, integer_centres=False)


def _kitti(file: Path, size_hw: tuple[int, int]) -> Intrinsics:
    """P_rect_02 and S_rect_02: the left colour camera after rectification."""
    try:
        rows = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        matrix = [float(v) for v in rows["P_rect_02"].split()]
        width, height = (float(v) for v in rows["S_rect_02"].split())
        values = {"fx": matrix[0], "fy": matrix[5], "cx": matrix[2], "cy": matrix[6]}
    except (OSError, KeyError, ValueError, IndexError):
        cause = "holds no P_rect_02 (12 numbers) and S_rect_02 (2 numbers)"
        raise InputError(file, "", cause, "take the file of KITTI's raw data as it is") from None
    return _normalised(values, (height, width), size_hw, file, integer_centres=True)

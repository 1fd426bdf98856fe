"""Image files and mask encodings -> pixels. No file can crash or swamp the process: sizes are checked first."""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.data.rle import compressed, decompressed
from depthbox.data.schema import ImageRecord

__all__ = [
    "MAX_PIXELS", "BadImage", "Decoded", "checked_segmentation", "decode_image", "decode_record", "edge_tolerance", "open_photo",
    "rasterise", "read_image", "shown",
]  # fmt: skip

MAX_PIXELS = 100_000_000
"""H * W above which an image is refused from its header (a decompression bomb, or a scan nobody trains on)."""

# Named, so that no format that runs a program (EPS) or has a rarely used C decoder can be reached by a renamed file.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_POLYGONS = "allowed: polygons [[x1, y1, x2, y2, x3, y3, ...], ...] or RLE {'size': [height, width], 'counts': ...}"
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the stored raster upright; 5 to 8 swap height and width."""


class BadImage(ValueError):
    """One image file cannot be used; `path` and `reason` go into the quarantine list."""

    def __init__(self, path: object, reason: str) -> None:
        self.path, self.reason = str(path), " ".join(reason.split())
        super().__init__(f"{self.path}: {self.reason}")

    def __reduce__(self) -> tuple:
        return (type(self), (self.path, self.reason))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    image: np.ndarray
    """Uint8 (H, W, 3) RGB, writable, resized."""
    digest: str
    """BLAKE2b-128 hex of the file's bytes."""
    size_hw: tuple[int, int]
    """Before resizing, in the orientation of `image`."""


def decode_record(record: ImageRecord, *, short_side: int | None, max_side: int | None) -> Decoded:
    """`read_image` of a record: the file must have the size its annotations state. Raises BadImage."""
    return read_image(record.path, short_side=short_side, max_side=max_side, expect_hw=record.size_hw)


def read_image(
    path: str | Path, *, short_side: int | None, max_side: int | None, expect_hw: tuple[int, int] | None = None
) -> Decoded:
    """Any photo -> RGB of the wanted size; raises BadImage(path, reason) and nothing else.

    The short side becomes `short_side` (also upwards) unless the long one would pass `max_side`; None: no such wish.
    Grey, palette and CMYK become RGB, transparency is laid over black, 16-bit grey is divided by 257.
    EXIF: some tools draw boxes on the raster as stored, others on the photo as shown. The photo is turned where
    that gives `expect_hw` (or nothing is expected, or both do), left as stored where only that does, else refused.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise BadImage(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return decode_image(data, path, short_side=short_side, max_side=max_side, expect_hw=expect_hw)


def decode_image(
    data: bytes,
    path: str | Path,
    *,
    short_side: int | None,
    max_side: int | None,
    expect_hw: tuple[int, int] | None = None,
) -> Decoded:
    """`read_image` of bytes that are in memory; `path` is what messages call them."""
    if not data:
        raise BadImage(path, "the file is empty (0 bytes)")
    try:
        image, size_hw = _decoded(data, path, short_side=short_side, max_side=max_side, expect_hw=expect_hw)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(path, f"not an image of a known format ({', '.join(_FORMATS)})") from None
    # A damaged file makes Pillow raise whatever its parser stumbles over (struct.error, KeyError, SyntaxError, ...).
    except Exception as error:
        raise BadImage(path, f"damaged or truncated ({type(error).__name__}: {error})") from None
    return Decoded(image=image, digest=hashlib.blake2b(data, digest_size=16).hexdigest(), size_hw=size_hw)


def open_photo(file: IO[bytes], path: str | Path) -> tuple[Image.Image, int]:
    """The photo by its header alone, and the EXIF orientation to apply. Raises BadImage for a bomb, and whatever Pillow raises for damage."""
    try:
        photo = Image.open(file, formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(path, f"{error} Allowed: {MAX_PIXELS} pixels") from None
    if photo.width * photo.height > MAX_PIXELS:
        raise BadImage(path, f"{photo.width}x{photo.height} pixels; allowed: {MAX_PIXELS} in all (decompression bomb?)")
    return photo, _orientation(photo)


def _decoded(data, path, *, short_side, max_side, expect_hw) -> tuple[np.ndarray, tuple[int, int]]:
    photo, turn = open_photo(io.BytesIO(data), path)
    stored_hw = (photo.height, photo.width)
    shown_hw = stored_hw[::-1] if turn >= 5 else stored_hw
    if expect_hw not in (None, shown_hw, stored_hw):
        want, have = f"{expect_hw[1]}x{expect_hw[0]}", f"{photo.width}x{photo.height}"
        raise BadImage(path, f"the file is {have} (width x height), its annotations say {want}")
    if expect_hw not in (None, shown_hw):
        turn, shown_hw = 1, stored_hw
    target_hw = _target(shown_hw, short_side, max_side)
    if math.prod(target_hw) > MAX_PIXELS:
        raise BadImage(path, f"too elongated: resized it would have {target_hw[1]}x{target_hw[0]} pixels")
    rgb = _resized(photo, target_hw[::-1] if turn >= 5 else target_hw)
    return np.array(rgb.transpose(_TURNS[turn]) if turn in _TURNS else rgb), shown_hw


def _orientation(photo: Image.Image) -> int:
    if photo.format == "TIFF":  # Pillow has applied the tag already
        return 1
    try:
        turn = photo.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # an unreadable EXIF block says nothing about the pixels
        return 1
    return turn if turn in _TURNS else 1


def _target(size_hw: tuple[int, int], short_side: int | None, max_side: int | None) -> tuple[int, int]:
    low, high = min(size_hw), max(size_hw)
    scale = short_side / low if short_side else 1.0
    scale = min(scale, max_side / high) if max_side else scale
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _resized(photo: Image.Image, target_hw: tuple[int, int]) -> Image.Image:
    size = target_hw[::-1]
    photo.draft(None, size)  # JPEG alone: decode at 1/2, 1/4 or 1/8 where that is not smaller than the target
    rgb = _rgb(photo)
    # Pillow's BILINEAR widens with the scale (antialiased); whole-number reduction first is several times faster.
    return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _rgb(photo: Image.Image) -> Image.Image:
    if photo.mode == "RGB" and "transparency" not in photo.info:
        photo.load()
        return photo
    if photo.mode == "F":
        raise ValueError("floating-point pixels have no stated range; save it as 8-bit")
    if photo.mode.startswith("I"):
        values = np.asarray(photo).astype(np.int32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"32-bit pixels from {values.min()} to {values.max()}; save it as 8-bit")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if photo.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in photo.info:
        layer = photo.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
    return photo.convert("RGB")


# Masks


def rasterise(segmentation: object, size_hw: tuple[int, int]) -> np.ndarray:
    """COCO polygons or RLE -> bool (H, W). Raises InputError on what pycocotools would crash on or take for good."""
    size_hw = (int(size_hw[0]), int(size_hw[1]))
    safe = checked_segmentation(segmentation, size_hw, may_be_empty=True)
    try:
        return _filled(safe, size_hw)
    except ImportError:
        cause, next_step = "pycocotools is not installed", "pip install pycocotools, or train from boxes"
        raise InputError("masks", "", cause, next_step) from None


def _filled(safe: object, size_hw: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coder

    encoded = coder.merge(coder.frPyObjects(safe, *size_hw)) if isinstance(safe, list) else safe
    return np.ascontiguousarray(coder.decode(encoded)).view(np.bool_)


def shown(value: object) -> str:
    """A value of a file, short and on one line, for a message."""
    if isinstance(value, dict):
        return f"an object with {len(value)} keys"
    if isinstance(value, list) and (len(value) > 4 or any(isinstance(item, dict | list) for item in value)):
        return f"a list of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def edge_tolerance(side: int) -> float:
    """How far an annotation may stick out of a side of the image, in pixels: 1, or 1 % (common tools round)."""
    return max(1.0, 0.01 * side)


def checked_segmentation(segmentation: object, size_hw: tuple[int, int], *, may_be_empty: bool = False) -> object:
    """Polygons as they are, any RLE as a compressed one with string counts. Raises InputError with cause and next step.

    A mask without a pixel is refused unless `may_be_empty`.
    """
    if isinstance(segmentation, list):
        _check_polygons(segmentation, size_hw)
        filled = may_be_empty or _has_pixels(segmentation, size_hw)
    elif isinstance(segmentation, dict):
        runs = _checked_runs(segmentation, size_hw)
        counts = segmentation["counts"]
        segmentation = {"size": list(size_hw), "counts": counts if isinstance(counts, str) else compressed(runs)}
        filled = may_be_empty or bool(runs[1::2].any())
    else:
        raise InputError("", "", f"segmentation is {shown(segmentation)}", _POLYGONS)
    if not filled:
        raise InputError("", "", "the mask has no pixel", "redraw it or remove the annotation")
    return segmentation


def _check_polygons(polygons: list, size_hw: tuple[int, int]) -> None:
    for index, polygon in enumerate(polygons):
        if not isinstance(polygon, list):
            raise InputError("", "", "segmentation is not a list of polygons", _POLYGONS)
        if len(polygon) < 6 or len(polygon) % 2:
            cause = f"polygon {index} has {len(polygon)} numbers"
            raise InputError("", "", cause, "allowed: an even count, x and y in turn, at least 6")
        points = _points(polygon)
        if points is None:
            raise InputError("", "", f"polygon {index} holds something that is not a finite number", "correct it")
        slack = np.array([edge_tolerance(size_hw[1]), edge_tolerance(size_hw[0])])
        # Beyond the image pycocotools allocates by the length of the outline: 1e9 there takes the process down.
        if (points < -slack).any() or (points > np.array(size_hw[::-1]) + slack).any():
            cause = f"polygon {index} leaves the image of {size_hw[1]}x{size_hw[0]} pixels"
            raise InputError("", "", cause, "coordinates are pixels of the original image; crop the polygon")


def _points(polygon: list) -> np.ndarray | None:
    if not set(map(type, polygon)) <= {int, float}:
        return None
    try:
        points = np.array(polygon, np.float64).reshape(-1, 2)
    except OverflowError:
        return None
    return points if np.isfinite(points).all() else None


def _has_pixels(polygons: list, size_hw: tuple[int, int]) -> bool:
    for polygon in polygons:
        x, y = np.array(polygon, np.float64).reshape(-1, 2).T
        area = abs(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0]) / 2
        if area > 2 * (np.ptp(x) + np.ptp(y)):  # thicker than a line of 2 pixels: no need to draw it
            return True
    try:
        return bool(polygons) and bool(_filled(polygons, size_hw).any())
    except ImportError:
        return bool(polygons)


def _checked_runs(rle: dict, size_hw: tuple[int, int]) -> np.ndarray:
    """Run lengths, background first, that fill the image exactly; int64 (P,)."""
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and [type(side) for side in size] == [int, int] and tuple(size) == size_hw):
        cause = f"RLE size is {shown(size)}"
        raise InputError("", "", cause, f"allowed: [height, width] of its image, [{size_hw[0]}, {size_hw[1]}]")
    if isinstance(counts, str):
        runs = decompressed(counts)
    elif isinstance(counts, list) and set(map(type, counts)) <= {int}:
        runs = np.array(counts, np.int64) if max(map(abs, counts), default=0) <= MAX_PIXELS else None
    else:
        raise InputError("", "", "RLE counts are neither a string nor a list of whole numbers", "write the mask again")
    if runs is None or (runs < 0).any():
        raise InputError("", "", "RLE counts are garbage", "write the mask again with pycocotools.mask.encode")
    if runs.sum() != size_hw[0] * size_hw[1]:
        cause = f"RLE counts add up to {runs.sum()}, the image has {size_hw[0] * size_hw[1]} pixels"
        raise InputError("", "", cause, "write the mask again at the size of its image")
    return runs

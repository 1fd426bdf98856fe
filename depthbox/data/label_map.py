"""Label files -> a class for every pixel. Ids, palettes, RGB-coded colours and SYNTHIA's 16-bit channels are understood; what is in no table is refused."""

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.core.shapes import IGNORE
from depthbox.data.decode import MAX_PIXELS, BadImage
from depthbox.data.label_table import LabelTable

__all__ = ["read_labels"]

_UNKNOWN = -1
_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM", "WEBP")
_IDS = 1 << 16
LABEL_IDS = ("cityscapes", "gta5")
"""Tables of label ids, beside whose files those of training ids lie."""


def read_labels(path: str | Path, table: LabelTable, *, expect_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Uint8 (H, W): 0..K-1, or IGNORE.

    Raises `BadImage` for a file that cannot be read or has another size than its photo (`expect_hw`), which concerns this file alone, and
    `InputError` for ids or colours that the table does not know, which concerns the table.
    """
    if "TrainIds" in Path(path).name and table.name in LABEL_IDS:
        cause, next_step = (
            "holds training ids, which mean other classes than label ids do",
            "give the *_labelIds.png files",
        )
        raise InputError(path, "", cause, next_step)
    try:
        codes, palette = _decoded(path)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(path, "is no picture of a known format") from None
    # A damaged file makes Pillow raise whatever its parser stumbles over.
    except Exception as error:
        raise BadImage(path, f"cannot be read as a label map ({type(error).__name__}: {error})") from None
    if expect_hw is not None and codes.shape[:2] != expect_hw:
        have, want = (f"{hw[1]}x{hw[0]}" for hw in (codes.shape, expect_hw))
        raise BadImage(path, f"the label map is {have}, its photo {want} (width x height)")
    classes, by_colour = _classes(codes, palette, table)
    if (unknown := classes == _UNKNOWN).any():
        raise _not_in_table(path, table, codes, unknown, palette if by_colour and codes.ndim == 2 else None)
    return classes.astype(np.uint8)


def _decoded(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids "H W" and the palette "256 3" of such a file, or colours "H W 3"; 16-bit channels are ids in the first of them."""
    data = Path(path).read_bytes()
    with Image.open(io.BytesIO(data)) as file:
        if file.format not in _LOSSLESS:
            raise BadImage(path, f"is {file.format}, which changes pixels: a label map is a PNG")
        if file.width * file.height > MAX_PIXELS:
            raise BadImage(path, f"{file.width}x{file.height} pixels; allowed: {MAX_PIXELS} in all")
        if _has_wide_channels(data):
            return _first_channel(data), None
        if file.mode == "F":
            raise BadImage(path, "holds floating-point pixels; a label map holds whole numbers or colours")
        if file.mode in ("P", "PA"):
            return _without_alpha(file), _palette(file)
        if file.mode in ("1", "L", "LA") or file.mode.startswith("I"):
            return _without_alpha(file), None
        return np.array(file.convert("RGB")), None


def _without_alpha(file: Image.Image) -> np.ndarray:
    pixels = np.array(file).astype(np.int64)
    return pixels[..., 0] if pixels.ndim == 3 else pixels


def _palette(file: Image.Image) -> np.ndarray:
    colours = np.zeros((256, 3), np.int64)
    given = np.array(file.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    colours[: len(given)] = given
    return colours


def _has_wide_channels(data: bytes) -> bool:
    """A PNG of 16-bit RGB or RGBA (IHDR), whose low bytes Pillow drops."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16 and data[25] in (2, 6)


def _first_channel(data: bytes) -> np.ndarray:
    """Pillow unpacks the first byte of a big-endian channel (16B), or the second (16L): both make the number."""
    high, low = (_unpacked(data, order)[..., 0].astype(np.int64) for order in ("16B", "16L"))
    return high << 8 | low


def _unpacked(data: bytes, order: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as file:
        file.tile = [tile._replace(args=f"{file.mode};{order}") for tile in file.tile]
        return np.array(file)


def _classes(codes: np.ndarray, palette: np.ndarray | None, table: LabelTable) -> tuple[np.ndarray, bool]:
    """Class of every pixel, _UNKNOWN where there is none, and whether colours decided."""
    ids, colours = _look_ups(_Key(table))
    if codes.ndim == 3:
        found = _by_colour(codes, colours)
        # Ids that a tool has saved as shades of grey; a shade that is a colour of the table may be either.
        if table.ids and (found == _UNKNOWN).any() and (codes == codes[..., :1]).all():
            return ids[codes[..., 0]], False
        return found, True
    clipped = np.where((codes >= 0) & (codes < _IDS), codes, _IDS)
    if palette is None or not table.colours:
        return ids[clipped], False
    used = np.unique(codes)
    named, shown = ids[used], _by_colour(palette[used], colours)
    # Void by its id and a class by its colour is a contradiction too, unless another id of this map is proved by its colour.
    proved = ((named == shown) & (named != IGNORE) & (named != _UNKNOWN)).any()
    agree = (named == shown) | (shown == _UNKNOWN) | ((named == IGNORE) & proved)
    if (shown == _UNKNOWN).any() and (palette[used] == used[:, None]).all():  # the same as a palette
        return ids[clipped], False
    # A palette may be in any order: its colours decide wherever they contradict the ids.
    by_colour = not ((named != _UNKNOWN).all() and agree.all())
    return (_by_colour(palette, colours)[codes], True) if by_colour else (ids[clipped], False)


class _Key:
    """A table as a key of a cache: by identity, for its mappings cannot be hashed."""

    def __init__(self, table: LabelTable) -> None:
        self.table = table

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.table is self.table


@functools.lru_cache(maxsize=8)
def _look_ups(key: _Key) -> tuple[np.ndarray, dict[int, int]]:
    """Id -> class, int16 with a place for every 16-bit id and one for what is none; packed colour -> class."""
    ids = np.full(_IDS + 1, _UNKNOWN, np.int16)
    for code, number in key.table.ids.items():
        ids[code] = number
    return ids, {r << 16 | g << 8 | b: number for (r, g, b), number in key.table.colours.items()}


def _by_colour(rgb: np.ndarray, colours: dict[int, int]) -> np.ndarray:
    packed = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    if not colours:
        return np.full(packed.shape, _UNKNOWN, np.int16)
    known = np.array(sorted(colours))
    place = np.searchsorted(known, packed).clip(max=len(known) - 1)
    numbers = np.array([colours[code] for code in known.tolist()], np.int16)
    return np.where(known[place] == packed, numbers[place], _UNKNOWN).astype(np.int16)


def _not_in_table(
    path: str | Path, table: LabelTable, codes: np.ndarray, unknown: np.ndarray, palette: np.ndarray | None
) -> InputError:
    rows = codes[unknown] if palette is None else palette[codes[unknown]]
    found, counts = np.unique(rows, axis=0, return_counts=True)
    most = found[np.argsort(-counts, kind="stable")][:5].tolist()
    kind, key = ("colour", "colours") if rows.ndim == 2 else ("id", "ids")
    words = [",".join(map(str, one)) if isinstance(one, list) else str(one) for one in most]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    share = f"{unknown.mean():.2%} of its pixels"
    cause = f"{kind}{'s' * (len(found) > 1)} {' '.join(words)}{more} not in the table {table.name} ({share})"
    return InputError(path, "", cause, f"{_allowed(table, kind)}; {_hint(table)}{_own_table(key, words)}")


def _allowed(table: LabelTable, kind: str) -> str:
    if kind == "id":
        return f"allowed ids are {_ranges(sorted(table.ids))}" if table.ids else "the table knows colours alone"
    return (
        f"allowed are the {len(table.colours)} colours of the table"
        if table.colours
        else "the table knows ids alone, and this is a picture of colours"
    )


def _hint(table: LabelTable) -> str:
    return "another data.table= fits perhaps; " if table.ids else ""


def _own_table(key: str, words: list[str]) -> str:
    return f'or a JSON of your own that names it, {{"{key}": {{"{words[0]}": "CLASS"}}}}, or null to leave it out'


def _ranges(ids: list[int]) -> str:
    """
    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0 to 2, 5, 7 to 8'
    """
    starts = [i for i, value in enumerate(ids) if i == 0 or value != ids[i - 1] + 1]
    ends = [*(start - 1 for start in starts[1:]), len(ids) - 1]
    return ", ".join(str(ids[a]) if a == b else f"{ids[a]} to {ids[b]}" for a, b in zip(starts, ends, strict=True))

"""A class for every pixel as files: an indexed picture with the colours of its classes, and a tint over the photo."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["LabelMap", "indexed_png", "tinted"]

_FILL = 0.55

Colours = Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelMap:
    """What one photo holds: uint8 "H W" of 0..K-1, at its own size."""

    image_id: int
    classes: np.ndarray


def indexed_png(classes: np.ndarray, ids: Sequence[int], colours: Colours) -> bytes:
    """A PNG whose pixels are `ids[class]` and whose palette has `colours[class]` there, black elsewhere; the ids are below 256."""
    palette = np.zeros((256, 3), np.uint8)
    palette[list(ids)] = colours
    picture = Image.fromarray(np.array(ids, np.uint8)[classes])
    picture.putpalette(palette.tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def tinted(photo: np.ndarray, classes: np.ndarray, colours: Colours) -> Image.Image:
    """The photo "h w 3" under the colours of `classes` "H W", a picture of the same aspect."""
    labels = Image.fromarray(classes).resize((photo.shape[1], photo.shape[0]), Image.Resampling.NEAREST)
    tint = np.array(colours, np.uint8)[np.asarray(labels)]
    return Image.blend(Image.fromarray(photo), Image.fromarray(tint), _FILL)

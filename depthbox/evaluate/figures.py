"""One picture that shows whether the masks are any good: rows are photos, columns what is known and predicted."""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from depthbox.data.decode import rasterise
from depthbox.data.schema import Detections, ImageRecord

__all__ = ["Row", "disparity_colours", "image_grid", "image_strip", "overlay", "palette", "pasted"]

_GAP, _HEAD, _LINE = 6, 26, 20
_PAPER, _INK, _UNKNOWN = (255, 255, 255), (32, 32, 36), (128, 128, 128)
_FIRST = (
    *((255, 59, 48), (38, 110, 255), (255, 214, 10), (40, 200, 80)),
    *((255, 60, 200), (40, 215, 240), (255, 140, 0), (140, 80, 255)),
)
_FILL = 0.45
_WIDEST = 2.0
"""Panels are fitted into panel_height x (2 panel_height): a panorama gets lower, not wider."""

_MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)
"""Every 17th colour of matplotlib's perceptually uniform "magma" (CC0); between them lines are 2 levels off at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """What is known of one photo; a column appears where some row has something for it."""

    photo: np.ndarray
    """Uint8 (H, W, 3) RGB, at any size with the aspect of the image."""
    truth: ImageRecord | None = None
    """Gives `boxes`, and `truth` where its objects have masks."""
    disparity: np.ndarray | None = None
    """Float (h, w) in [0, 1], 1 nearest, NaN unknown, at any size with the aspect of the image."""
    depth_edges: np.ndarray | None = None
    """Float (h, w): the share of a pixel's neighbours that depth believes to be one thing with it; dark is where masks should end."""
    prediction: Detections | None = None
    """Masks, or boxes where it has none, in pixels of an image of `truth.size_hw` (of the photo, without `truth`)."""


def image_grid(
    rows: Sequence[Row],
    path: Path,
    *,
    class_names: Sequence[str] = (),
    min_score: float = 0.3,
    panel_height: int = 192,
) -> Path:
    """Write the grid to `path` (its ending says the format), make its folder, return `path`.

    A class has one colour in all panels; with a single class the objects have their own, from left to right.
    Detections below `min_score` are not drawn. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("image grid: no rows; give at least one photo")
    by_class = len(class_names) != 1
    columns = {name: [draw(row, min_score, panel_height, by_class) for row in rows] for name, draw in _COLUMNS.items()}
    columns = {name: panels for name, panels in columns.items() if any(panel is not None for panel in panels)}
    shown = sorted({int(label) for row in rows for label in _labels(row, min_score)})
    legend = [(class_names[label], palette(label)) for label in shown if label < len(class_names)] if by_class else []
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pasted(columns, legend).save(path)
    return path


def image_strip(
    rows: Sequence[Row],
    path: Path,
    *,
    column: Literal["photo", "prediction", "truth"],
    by_class: bool,
    min_score: float = 0.5,
    panel_height: int = 112,
) -> Path | None:
    """Write one column of `image_grid` as a line from left to right, without words; None where no row has such a panel."""
    panels = [panel for row in rows if (panel := _COLUMNS[column](row, min_score, panel_height, by_class)) is not None]
    if not panels:
        return None
    sheet = Image.new("RGB", (sum(panel.width + _GAP for panel in panels) - _GAP, panel_height), _PAPER)
    x = 0
    for panel in panels:
        sheet.paste(panel, (x, (panel_height - panel.height) // 2))
        x += panel.width + _GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=80)
    return path


def overlay(photo: np.ndarray, found: Detections, *, size_hw: tuple[int, int], by_class: bool) -> Image.Image:
    """The photo "H W 3" with all that was `found` in it, in pixels of an image of `size_hw`."""
    panel, kept = Image.fromarray(photo), _kept(found, 0.0)
    colours = _colours(found, kept, by_class)
    if found.masks is None or not _masks_are_readable():
        return _with_boxes(panel, found.boxes_xyxy[kept], colours, size_hw)
    return _with_masks(panel, [found.masks[i] for i in kept], colours, size_hw)


def palette(index: int) -> tuple[int, int, int]:
    """RGB of class (or object) `index`: eight chosen colours, then hues by the golden ratio in three tones."""
    if index < len(_FIRST):
        return _FIRST[index]
    tone = ((0.6, 1.0), (0.95, 0.75), (0.85, 1.0))[index // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * 0.618034) % 1.0, *tone)
    return round(red * 255), round(green * 255), round(blue * 255)


def disparity_colours(disparity: np.ndarray) -> np.ndarray:
    """Disparity (h, w) in [0, 1] -> uint8 (h, w, 3): black is far, pale yellow near, grey unknown."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _MAGMA.split()], dtype=np.float64)
    known = np.nan_to_num(disparity, nan=0.0).clip(0.0, 1.0)
    places = np.linspace(0.0, 1.0, len(anchors))
    colours = np.stack([np.interp(known, places, anchors[:, channel]) for channel in range(3)], axis=-1)
    colours[np.isnan(disparity)] = _UNKNOWN
    return colours.round().astype(np.uint8)


# Columns: (row, min_score, panel_height, by_class) -> panel or None ---------------------------------------------------


def _photo(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image:
    height, width = row.photo.shape[:2]
    scale = min(panel_height / height, panel_height * _WIDEST / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(row.photo).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _boxes(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image | None:
    if row.truth is None:
        return None
    kept = np.flatnonzero(~row.truth.crowd)
    panel = _photo(row, min_score, panel_height, by_class)
    return _with_boxes(panel, row.truth.boxes_xyxy[kept], _colours(row.truth, kept, by_class), row.truth.size_hw)


def _disparity(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image | None:
    if row.disparity is None:
        return None
    size = _photo(row, min_score, panel_height, by_class).size
    return Image.fromarray(disparity_colours(row.disparity)).resize(size, Image.Resampling.BILINEAR)


def _depth_edges(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image | None:
    if row.depth_edges is None:
        return None
    grey = Image.fromarray((row.depth_edges.clip(0, 1) * 255).round().astype(np.uint8)).convert("RGB")
    return grey.resize(_photo(row, min_score, panel_height, by_class).size, Image.Resampling.BILINEAR)


def _prediction(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image | None:
    found = row.prediction
    if found is None:
        return None
    kept = _kept(found, min_score)
    size_hw = row.truth.size_hw if row.truth else row.photo.shape[:2]
    panel, colours = _photo(row, min_score, panel_height, by_class), _colours(found, kept, by_class)
    if found.masks is None or not _masks_are_readable():
        return _with_boxes(panel, found.boxes_xyxy[kept], colours, size_hw)
    return _with_masks(panel, [found.masks[i] for i in kept], colours, size_hw)


def _truth(row: Row, min_score: float, panel_height: int, by_class: bool) -> Image.Image | None:
    if row.truth is None or not _masks_are_readable():
        return None
    has_mask = np.array([mask is not None for mask in row.truth.segmentations], dtype=bool)
    kept = np.flatnonzero(has_mask & ~row.truth.crowd)
    if not len(kept) and len(row.truth.labels):
        return None
    panel, colours = _photo(row, min_score, panel_height, by_class), _colours(row.truth, kept, by_class)
    return _with_masks(panel, [row.truth.segmentations[i] for i in kept], colours, row.truth.size_hw)


_COLUMNS: dict[str, Callable[[Row, float, int, bool], Image.Image | None]] = {
    "photo": _photo,
    "boxes": _boxes,
    "disparity": _disparity,
    "depth edges": _depth_edges,
    "prediction": _prediction,
    "truth": _truth,
}


def _masks_are_readable() -> bool:
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:  # a bare GPU box: boxes are shown instead
        return False
    return True


def _kept(found: Detections, min_score: float) -> np.ndarray:
    """Indices of what is drawn, the best last and so on top."""
    order = np.argsort(found.scores, kind="stable")
    return order[found.scores[order] >= min_score]


def _labels(row: Row, min_score: float) -> list[int]:
    truth = row.truth.labels[~row.truth.crowd].tolist() if row.truth else []
    return truth + (row.prediction.labels[_kept(row.prediction, min_score)].tolist() if row.prediction else [])


def _colours(known: ImageRecord | Detections, kept: np.ndarray, by_class: bool) -> list[tuple[int, int, int]]:
    from_left = known.boxes_xyxy[kept, ::2].sum(axis=1).argsort().argsort()
    return [palette(int(index)) for index in (known.labels[kept] if by_class else from_left)]


# Drawing -------------------------------------------------------------------------------------------------------------


def _with_boxes(panel: Image.Image, boxes_xyxy: np.ndarray, colours: list, size_hw: tuple[int, int]) -> Image.Image:
    draw = ImageDraw.Draw(panel)
    scale = np.array([panel.width / size_hw[1], panel.height / size_hw[0]] * 2)
    for box, colour in zip(boxes_xyxy * scale, colours, strict=True):
        x0, y0, x1, y1 = box.round().astype(int).tolist()
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=2)
    return panel


def _with_masks(panel: Image.Image, masks: Sequence, colours: list, size_hw: tuple[int, int]) -> Image.Image:
    """Each mask as a tint and a line of one pixel along its inner edge."""
    for mask, colour in zip(masks, colours, strict=True):
        pixels = Image.fromarray(rasterise(mask, size_hw)).convert("L").resize(panel.size, Image.Resampling.BILINEAR)
        inside = pixels.point(lambda level: 255 if level >= 128 else 0)
        core = inside.filter(ImageFilter.MinFilter(3))
        strength = np.where(np.asarray(core) > 0, _FILL, 1.0) * (np.asarray(inside) > 0)
        panel.paste(colour, (0, 0), Image.fromarray((strength * 255).round().astype(np.uint8)))
    return panel


def pasted(columns: dict[str, list[Image.Image | None]], legend: list[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    """A sheet of named columns of panels, with names of colours below it; a row or a column has at least one panel."""
    widths = [max(panel.width for panel in panels if panel) for panels in columns.values()]
    heights = [max(panel.height for panel in row if panel) for row in zip(*columns.values(), strict=True)]
    width = sum(widths) + _GAP * (len(widths) + 1)
    places = _legend_places(legend, width)
    bottom = _HEAD + sum(heights) + _GAP * len(heights)
    sheet = Image.new("RGB", (width, bottom + (places[-1][1] + _LINE + _GAP if places else 0)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    x = _GAP
    for (name, panels), column_width in zip(columns.items(), widths, strict=True):
        draw.text((x + column_width / 2, _HEAD / 2), name, fill=_INK, font=font, anchor="mm")
        y = _HEAD
        for panel, row_height in zip(panels, heights, strict=True):
            if panel:
                sheet.paste(panel, (x + (column_width - panel.width) // 2, y + (row_height - panel.height) // 2))
            y += row_height + _GAP
        x += column_width + _GAP
    for (name, colour), (x, y) in zip(legend, places, strict=True):
        draw.rectangle((x, bottom + y + 4, x + 11, bottom + y + 15), fill=colour)
        draw.text((x + 17, bottom + y + _LINE / 2), name, fill=_INK, font=font, anchor="lm")
    return sheet


def _legend_places(legend: list[tuple[str, tuple[int, int, int]]], width: int) -> list[tuple[int, int]]:
    """Where each entry starts, left to right and then on the next line."""
    font, places, x, y = ImageFont.load_default(14), [], _GAP, 0
    for name, _ in legend:
        length = round(font.getlength(name)) + 17 + 16
        if x > _GAP and x + length > width:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += length
    return places

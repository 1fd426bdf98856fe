"""The chosen photos and why, as one HTML file that needs nothing else."""

import base64
import html
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from depthbox.data.selection import Pick

__all__ = ["write_selection_page"]

_STYLE = """body{font:15px system-ui;margin:2em;max-width:75em}.all{display:flex;flex-wrap:wrap;gap:1em}
figure{margin:0;width:17em}img{width:100%;image-rendering:auto}figcaption{overflow-wrap:anywhere}small{color:#555}"""


def write_selection_page(
    file: Path, *, title: str, names: Sequence[str], photos: np.ndarray, picks: Sequence[tuple[int, Pick]]
) -> None:
    """`photos` u8 "N h w 3", `names` one each; the chosen ones in the order of choice."""
    figures = [
        f'<figure><img alt="" src="{_embedded(photos[pick.index])}"><figcaption>{place}. {html.escape(names[pick.index])}<br>'
        f"<small>{_why(number, pick)}</small></figcaption></figure>"
        for place, (number, pick) in enumerate(picks, start=1)
    ]
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    words = (
        "Distance: to the nearest photo that had a label by then, in the depth network's features. "
        "Disagreement: how far a student that has seen the labelled photos alone is from the depth network here."
    )
    file.write_text(f"{head}<h1>{html.escape(title)}</h1><p>{words}</p><div class=all>{''.join(figures)}</div>")


def _why(number: int, pick: Pick) -> str:
    distance = "the first, drawn by the seed" if math.isinf(pick.distance) else f"distance {pick.distance:.3g}"
    disagreement = f", disagreement {pick.disagreement:.3g}" if pick.disagreement else ""
    return f"round {number}: {distance}{disagreement}"


def _embedded(photo: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

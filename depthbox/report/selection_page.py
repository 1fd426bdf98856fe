"""The chosen photos and why, as one HTML file that needs nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from depthbox.data.decode import BadImage, read_image
from depthbox.data.selection import Pick
from depthbox.evaluate.embedded import picture_address

__all__ = ["SelectionFacts", "write_selection_page"]

TEMPLATE = Path(__file__).with_name("selection.html.jinja")
SHORT, LONG = 300, 448
"""Sides of a thumbnail in pixels, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionFacts:
    """What the page says besides the photos."""

    by: str
    labelled: int
    list_file: Path
    unreadable: Sequence[str]


def write_selection_page(
    file: Path, *, names: Sequence[str], paths: Sequence[str], picks: Sequence[tuple[int, Pick]], facts: SelectionFacts
) -> None:
    """`names` and `paths` of all photos; the chosen ones in the order of choice, with the number of their round."""
    import jinja2

    rounds: dict[int, list[dict]] = {}
    for place, (number, pick) in enumerate(picks, start=1):
        shown = {"place": place, "name": names[pick.index], "why": _why(pick), "picture": _thumbnail(paths[pick.index])}
        rounds.setdefault(number, []).append(shown)
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text())
    file.write_text(page.render(chosen=len(picks), photos=len(names), rounds=rounds, facts=facts))


def _why(pick: Pick) -> str:
    distance = "the first, drawn by the seed" if math.isinf(pick.distance) else f"distance {pick.distance:.3g}"
    disagreement = f", disagreement {pick.disagreement:.3g}" if pick.disagreement else ""
    return distance + disagreement


def _thumbnail(path: str) -> str:
    """The photo as it is on disk, not as the network sees it; nothing where it is gone since."""
    try:
        return picture_address(Image.fromarray(read_image(path, short_side=SHORT, max_side=LONG).image))
    except BadImage:
        return ""

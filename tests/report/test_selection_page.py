"""The page of chosen photos: they are shown as they are, by round; whatever is in a name, and gone or not."""

import io
import math
import re
from base64 import b64decode
from pathlib import Path

import pytest
from browser import look
from PIL import Image

from depthbox.data.selection import Pick
from depthbox.report.selection_page import SelectionFacts, write_selection_page

SIZES = {"wide.png": (640, 320), "tall <b>&.png": (200, 400), "small.png": (60, 40)}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        Image.new("RGB", size, (200, 120, 40)).save(tmp_path / name)
    names = [*SIZES, "gone.png"]
    picks = [
        (1 + n // 2, Pick(index=n, distance=math.inf if n == 0 else 3.0, disagreement=0.2 * (n > 1))) for n in range(4)
    ]
    facts = SelectionFacts(
        by="both", labelled=0, list_file=tmp_path / "selected.txt", unreadable=["torn.png: not an image"]
    )
    file = tmp_path / "selected.html"
    write_selection_page(file, names=names, paths=[str(tmp_path / name) for name in names], picks=picks, facts=facts)
    return file


def test_photos_keep_their_shape_and_names_their_letters(page: Path) -> None:
    text = page.read_text()
    shown = [Image.open(io.BytesIO(b64decode(one))).size for one in re.findall(r"base64,([^\"]+)", text)]
    assert shown == [(448, 224), (224, 448), (448, 299)]
    assert "tall &lt;b&gt;&amp;.png" in text and "<b>&" not in text and "torn.png: not an image" in text
    assert (
        text.count("<h2>Round") == 2
        and "the first, drawn by the seed" in text
        and "distance 3, disagreement 0.2" in text
    )


def test_a_browser_shows_every_photo_and_no_text_runs_out_of_its_place(page: Path, tmp_path: Path) -> None:
    (count,) = look(
        page.as_uri(),
        "[...document.images].every(i => i.complete && i.naturalWidth) && document.body.scrollWidth <= innerWidth && document.querySelectorAll('figure').length",
        picture=tmp_path / "p.png",
    )
    assert count == 4

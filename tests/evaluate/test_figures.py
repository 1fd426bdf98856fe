"""The image grid and the tables."""

import doctest
import io
import sys

import numpy as np
import pytest
from PIL import Image

from depthbox.data.schema import Detections, ImageRecord
from depthbox.evaluate.figures import Row, disparity_colours, image_grid, palette
from depthbox.evaluate.instance import to_rle
from depthbox.report import table
from depthbox.report.table import ascii_table, console_table, markdown_table

SIZE_HW = (96, 128)
SQUARE, OTHER = [[20, 20, 60, 20, 60, 60, 20, 60]], [[80, 30, 120, 30, 120, 80, 80, 80]]
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools with numpy 2


def _truth(*, masks=True, labels=(0, 1)):
    return ImageRecord(
        image_id=1,
        path="/nowhere.jpg",
        size_hw=SIZE_HW,
        boxes_xyxy=np.array([[20, 20, 60, 60], [80, 30, 120, 80]], dtype=np.float32),
        labels=np.array(labels),
        crowd=np.array([False, False]),
        segmentations=(SQUARE, to_rle(OTHER, SIZE_HW)) if masks else (None, None),
        annotation_ids=np.array([1, 2]),
    )


def _prediction(*, masks=True, scores=(0.9, 0.2)):
    truth = _truth()
    rles = (to_rle(SQUARE, SIZE_HW), to_rle(OTHER, SIZE_HW)) if masks else None
    scores = np.array(scores, dtype=np.float32)
    return Detections(image_id=1, boxes_xyxy=truth.boxes_xyxy, scores=scores, labels=truth.labels, masks=rles)


def _photo(size_hw=SIZE_HW):
    return np.full((*size_hw, 3), 200, dtype=np.uint8)


def _columns(picture):
    """How many panels stand beside each other: runs of columns that hold ink in the rows of the panels."""
    ink = (np.asarray(picture)[40:180] != 255).any(axis=(0, 2)).astype(int)
    return int((np.diff(np.concatenate([[0], ink])) == 1).sum())


def _panel(picture, index):
    width = 256
    return np.asarray(picture)[26 : 26 + 192, 6 + index * (width + 6) : 6 + index * (width + 6) + width]


def test_active_edges_have_a_panel_of_their_own(tmp_path):
    edges = np.zeros((24, 32), np.float32)
    edges[:, 16:] = 1
    picture = Image.open(image_grid([Row(photo=_photo(), depth_edges=edges)], tmp_path / "edges.png"))
    assert _columns(picture) == 2
    panel = _panel(picture, 1)
    assert (panel[:, :100] == 0).all() and (panel[:, 160:] == 255).all()


def test_columns_of_a_full_row_and_their_colours(tmp_path):
    row = Row(photo=_photo(), truth=_truth(), disparity=np.zeros((24, 32), np.float32), prediction=_prediction())
    path = image_grid([row], tmp_path / "deep" / "grid.png", class_names=("cat", "dog"))
    picture = Image.open(path)
    assert _columns(picture) == 5 and picture.height > 192 + 26
    photo, boxes, disparity, prediction, truth = (_panel(picture, i) for i in range(5))
    assert (photo == 200).all() and (disparity == [0, 0, 4]).all()
    assert tuple(boxes[40, 80]) == palette(0) and tuple(boxes[80, 80]) == (200, 200, 200)
    assert np.array_equal(prediction[80, 80], truth[80, 80]) and not (truth[80, 80] == 200).all()
    assert (prediction[110, 200] == 200).all() and not (truth[110, 200] == 200).all()  # a score of 0.2 is not drawn
    again = Image.open(image_grid([row], tmp_path / "all.png", class_names=("cat", "dog"), min_score=0.1))
    assert not (_panel(again, 3)[110, 200] == 200).all()


@pytest.mark.parametrize(
    "row, columns",
    [
        (Row(photo=_photo()), 1),
        (Row(photo=_photo(), truth=_truth(masks=False)), 2),
        (Row(photo=_photo(), truth=_truth()), 3),
        (Row(photo=_photo(), prediction=_prediction(masks=False)), 2),
        (
            Row(
                photo=_photo(),
                disparity=np.full((9, 12), np.nan, np.float32),
                prediction=_prediction(scores=(0.1, 0.1)),
            ),
            3,
        ),
    ],
)
def test_a_column_appears_where_there_is_something_to_show(row, columns, tmp_path):
    assert _columns(Image.open(image_grid([row], tmp_path / "grid.png"))) == columns


def test_without_pycocotools_boxes_are_shown_instead_of_masks(tmp_path, monkeypatch):
    row = Row(photo=_photo(), truth=_truth(), prediction=_prediction())
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    picture = Image.open(image_grid([row], tmp_path / "grid.png"))
    assert _columns(picture) == 3 and tuple(_panel(picture, 2)[40, 80]) == palette(0)


def test_photos_of_other_sizes_share_the_columns(tmp_path):
    sizes = [(96, 128), (192, 256), (300, 100), (50, 900)]  # the same photo enlarged, a portrait, a panorama
    rows = [Row(photo=_photo(size), prediction=_prediction() if i < 1 else None) for i, size in enumerate(sizes)]
    picture = Image.open(image_grid(rows, tmp_path / "grid.jpg", panel_height=64))
    assert picture.width < 3 * 2 * 64 and _columns(picture) == 2
    with pytest.raises(ValueError, match="no rows"):
        image_grid([], tmp_path / "none.png")


def test_masks_follow_a_photo_that_was_resized(tmp_path):
    kinds = [Row(photo=_photo(size), truth=_truth(), prediction=_prediction()) for size in (SIZE_HW, (48, 64))]
    full, half = (np.asarray(Image.open(image_grid([row], tmp_path / "grid.png"))) for row in kinds)
    assert np.array_equal(full, half)


def test_one_class_gives_each_object_its_own_colour(tmp_path):
    row = Row(photo=_photo(), truth=_truth(labels=(0, 0)))
    one, two = (
        _panel(Image.open(image_grid([row], tmp_path / "g.png", class_names=names)), 2) for names in (["a"], ["a", "b"])
    )
    assert not np.array_equal(one[80, 80], one[110, 200]) and np.array_equal(two[80, 80], two[110, 200])


def test_colours_differ_and_disparity_is_perceptual():
    colours = np.array([palette(i) for i in range(8)], dtype=float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distance[~np.eye(8, dtype=bool)].min() > 60 and len({palette(i) for i in range(80)}) == 80
    ramp = disparity_colours(np.linspace(0, 1, 64, dtype=np.float32)[None])
    assert (np.diff(ramp.astype(float) @ [0.299, 0.587, 0.114]) > -1e-6).all()  # lightness never falls
    assert (disparity_colours(np.array([[np.nan]], np.float32)) == 128).all()


# Tables --------------------------------------------------------------------------------------------------------------


def test_the_examples_in_the_table_module():
    assert doctest.testmod(table).failed == 0


def test_cells_are_rounded_aligned_and_escaped():
    rows = [["a|b", np.float32(1 / 3), np.int64(7), float("nan")], ["c\nd", 1.0, 12, None]]
    lines = markdown_table(["name", "AP", "n", "empty"], rows).splitlines()
    assert lines[2] == "| a\\|b | 0.333 |   7 |     - |" and lines[3] == "| c d  | 1.000 |  12 |     - |"
    assert len({len(line) for line in lines}) == 1
    assert markdown_table(["name", "AP"], []).splitlines()[0] == "| name | AP  |"
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        markdown_table(["one"], [["a", 1]])


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_the_console_table_says_the_same_with_and_without_rich(rich, monkeypatch):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.table", None)
    for file in (_Terminal(), io.StringIO()):
        console_table(["method", "AP"], [["[bold]x", 0.25]], title="Results", file=file)
        text = file.getvalue()
        assert "Results" in text and "[bold]x" in text and "0.250" in text
    assert ascii_table(["method", "AP"], [["[bold]x", 0.25]]) in text

"""A label map that is written reads back as the same classes, with the very table of the training data."""

import io

import numpy as np
import pytest
from PIL import Image

from depthbox.core.shapes import IGNORE
from depthbox.data.label_map import read_labels
from depthbox.data.label_table import BUILT_IN, LabelTable, read_table
from depthbox.evaluate.figures import palette
from depthbox.evaluate.label_maps import indexed_png, tinted


def written(classes: np.ndarray, table: LabelTable) -> bytes:
    colours = [rgb or palette(number) for number, rgb in enumerate(table.written_colours)]
    return indexed_png(classes, table.written_ids, colours)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_table_reads_what_is_written(name: str, tmp_path) -> None:
    table = read_table(name, tmp_path)
    classes = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % len(table.class_names)
    (tmp_path / "map.png").write_bytes(written(classes, table))
    assert np.array_equal(read_labels(tmp_path / "map.png", table), classes)


def test_cityscapes_gets_its_label_ids_and_colours(tmp_path) -> None:
    with Image.open(io.BytesIO(written(np.array([[0, 13, 18]], np.uint8), read_table("cityscapes", tmp_path)))) as file:
        assert np.array(file).tolist() == [[7, 26, 33]]
        assert np.array(file.convert("RGB")).tolist() == [[[128, 64, 128], [0, 0, 142], [119, 11, 32]]]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({7: 0, 4: 0, 9: 1, 0: IGNORE}, (4, 9)),
        ({7: 0, 300: 1}, (0, 1)),
        ({7: 0, 255: 1}, (0, 1)),
        ({7: 0}, (0, 1)),
        ({}, (0, 1)),
    ],
)
def test_the_least_id_of_a_class_counts_and_where_one_cannot_be_written_its_place(ids: dict, expected: tuple) -> None:
    assert LabelTable(name="t", class_names=("a", "b"), ids=ids, colours={}).written_ids == expected


def test_the_tint_is_where_the_class_is() -> None:
    classes = np.zeros((8, 12), np.uint8)
    classes[:, 6:] = 1
    seen = np.asarray(tinted(np.zeros((4, 6, 3), np.uint8), classes, [(200, 0, 0), (0, 200, 0)]))
    assert seen[:, :3, 0].min() > 90 and seen[:, 3:, 1].min() > 90
    assert not seen[:, :3, 1].any() and not seen[:, 3:, 0].any()

"""Photos and label maps -> records: what stays, what is refused, what belongs to the name of the data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_semantic import CLASSES, write_tiny_semantic

from depthbox.core.errors import InputError
from depthbox.data.label_table import read_table
from depthbox.data.semantic import SemanticData, check_labels, digest_of, read_semantic, with_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_semantic(tmp_path)


def read(folder: Path, images: str = "photos", labels: str = "labels", **options: bool) -> SemanticData:
    return read_semantic(folder, images=images, labels=labels, table=read_table("table.json", folder), **options)


def test_records(folder: Path):
    (folder / "labels" / "p_03.png").unlink()
    data = check_labels(read(folder))
    assert data.class_names == CLASSES and [r.image_id for r in data.records] == list(range(6))
    assert [bool(r.label_path) for r in data.records] == [True, True, True, False, True, True]
    assert {r.size_hw for r in data.records} == {(48, 64)} and data.findings == ()
    with pytest.raises(InputError, match="1 of 6 photos have no label map, such as 'p_03'"):
        read(folder, needs_all=True)


def test_an_id_of_no_table_ends_the_run_before_it_starts(folder: Path):
    path = folder / "labels" / "p_04.png"
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(path)
    with pytest.raises(InputError, match=r"p_04.png: id 77 not in the table table.json"):
        check_labels(read(folder))


def test_an_unreadable_label_map_is_set_aside_within_the_allowed_share(folder: Path):
    (folder / "labels" / "p_01.png").write_bytes(b"")
    data = check_labels(read(folder), allowed_share=0.2)
    assert "p_01.png" in data.findings[0]
    with pytest.raises(InputError, match="1 of 6 images cannot be used"):
        check_labels(read(folder), allowed_share=0.1)


def test_a_label_map_of_another_size_than_its_photo(folder: Path):
    Image.fromarray(np.full((24, 32), 10, np.uint8)).save(folder / "labels" / "p_02.png")
    with pytest.raises(InputError, match=r"p_02.png: .*the label map is 32x24, its photo 64x48"):
        check_labels(read(folder))


def test_a_table_of_other_files(folder: Path):
    (folder / "table.json").write_text('{"ids": {"0": null, "10": null, "20": null, "30": null, "1": "x"}}')
    with pytest.raises(InputError, match="none of 6 label maps has a pixel of a class"):
        check_labels(read(folder))


def test_a_class_that_no_label_map_shows_is_said(folder: Path):
    (folder / "table.json").write_text('{"ids": {"0": null, "10": "a", "20": "b", "30": "c", "1": "rare"}}')
    assert any("no pixel of rare in 6 label maps" in line for line in check_labels(read(folder)).findings)


def test_the_source_comes_behind_the_target_with_its_word(folder: Path):
    write_tiny_semantic(folder, photos=4, seed=7, images="rendered", labels="rendered_labels")
    both = with_source(read(folder), read(folder, "rendered", "rendered_labels"))
    assert [r.supervision for r in both.records] == [""] * 6 + ["source"] * 4
    assert [r.image_id for r in both.records] == list(range(10))


def test_the_digest_tells_words_files_and_meaning_apart(folder: Path):
    data = read(folder)
    assert digest_of(read(folder).records) == data.digest
    changed = [replace(data.records[0], supervision="none"), replace(data.records[0], label_path="")]
    changed.append(replace(data.records[0], table=data.table.renumbered(("green", "red", "blue"))))
    digests = {digest_of([one, *data.records[1:]]) for one in (data.records[0], *changed)}
    assert len(digests) == 4


def test_a_photo_that_cannot_be_opened_stays_for_the_decoder_to_name(folder: Path):
    (folder / "photos" / "p_00.png").write_bytes(b"no")
    assert read(folder).records[0].size_hw == (1, 1)

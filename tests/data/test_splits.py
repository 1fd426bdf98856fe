"""Which images are labelled: drawn by (percent, seed), written and read as text, or read from a list in a JSON; every fault in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_packs import write_photos
from tiny_city import write_tiny_city

from depthbox.core.errors import InputError, UsageError
from depthbox.data.cityscapes import read_cityscapes
from depthbox.data.coco import read_coco
from depthbox.data.schema import CocoData, ImageRecord
from depthbox.data.splits import drawn_images, named_images, write_split


def listed(ids) -> CocoData:
    """A data set of so many empty images; nothing of it is on disk."""
    records = tuple(
        ImageRecord(
            image_id=number,
            path=f"/photos/{number:06d}.jpg",
            size_hw=(4, 4),
            boxes_xyxy=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            crowd=np.zeros(0, bool),
            segmentations=(),
            annotation_ids=np.zeros(0, np.int64),
        )
        for number in ids
    )
    return CocoData(source="train.json", records=records, class_names=("a",), category_ids=(1,), digest="")


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=300), st.floats(0.1, 100), st.integers(0, 3))
def test_a_split_is_a_function_of_percent_and_seed(ids, percent, seed):
    data = listed(sorted(ids))
    drawn = drawn_images(data, percent=percent, seed=seed)
    assert drawn == drawn_images(data, percent=percent, seed=seed) == tuple(sorted(set(drawn))) and set(drawn) <= ids
    assert len(drawn) == max(1, round(len(ids) * percent / 100))


def test_splits_of_one_seed_are_nested_and_seeds_differ():
    data = listed(range(1000))
    one, two, five, ten = (set(drawn_images(data, percent=percent, seed=0)) for percent in (1, 2, 5, 10))
    assert [len(split) for split in (one, two, five, ten)] == [10, 20, 50, 100] and one < two < five < ten
    others = [set(drawn_images(data, percent=10, seed=seed)) for seed in range(1, 4)]
    assert all(len(ten & other) < 40 for other in others)
    assert drawn_images(data, percent=100, seed=0) == tuple(range(1000))
    assert len(drawn_images(data, percent=0.01, seed=0)) == 1


@pytest.mark.parametrize("seed", [7, 25, 42])
@pytest.mark.parametrize("count", [100, 372, 744])
def test_random_images_are_the_published_ones(shared: Path, seed: int, count: int):
    """Of the 2975 training photos of Cityscapes, in the order of their paths."""
    golden = golden_values(shared, "subsets_schedules", folder="self_supervised_depth")
    found = drawn_images(listed(range(2975)), percent=100 * count / 2975, seed=seed)
    assert list(found) == golden[f"cityscapes_random_seed{seed}_n{count}"].tolist()


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_that_cannot_be_drawn_by_is_refused(seed: int):
    with pytest.raises(UsageError, match=rf"seed={seed}: allowed are 0 to 4294967295"):
        drawn_images(listed([1]), percent=5, seed=seed)


@pytest.mark.parametrize("percent", [0, -5, 100.1, float("nan")])
def test_a_percentage_that_is_none_is_refused(percent):
    with pytest.raises(UsageError, match=r"allowed is above 0, up to 100"):
        drawn_images(listed([1]), percent=percent, seed=0)


def test_what_is_written_is_read(tmp_path):
    data = listed(range(0, 90, 3))
    drawn = drawn_images(data, percent=20, seed=4)
    write_split(tmp_path / "below" / "split.txt", data, drawn)
    assert (tmp_path / "below" / "split.txt").read_text().splitlines() == [str(number) for number in drawn]
    assert named_images("below/split.txt", tmp_path, data) == drawn
    write_split(tmp_path / "below" / "split.txt", data, drawn)
    with pytest.raises(InputError, match=r"split\.txt: holds something else"):
        write_split(tmp_path / "below" / "split.txt", data, drawn[1:])
    with pytest.raises(InputError, match="cannot be written"):
        write_split(tmp_path / "below" / "split.txt" / "x", data, drawn)


def test_streets_are_named_by_their_photos(tmp_path):
    write_tiny_city(tmp_path)
    data = read_cityscapes(tmp_path / "gtFine/train", images=tmp_path / "leftImg8bit/train", masks=False)
    write_split(tmp_path / "split.txt", data, drawn_images(data, percent=5, seed=0))
    assert (tmp_path / "split.txt").read_text() == "aachen_000000_000019_leftImg8bit\n"
    assert named_images("split.txt", tmp_path, data) == (0,)


def test_photos_of_one_folder_s_name_are_named_by_the_folders_above(tmp_path):
    paths = [f"seq_{number}/rgb/{name}" for number in (0, 1) for name in ("f1.png", "f1.jpg", "f2.png")] + ["top.png"]
    data = listed(range(7))
    records = tuple(replace(one, path=str(tmp_path / path)) for one, path in zip(data.records, paths, strict=True))
    data = replace(data, source=str(tmp_path), records=records)
    ids = tuple(range(7))
    write_split(tmp_path / "split.txt", data, ids)
    lines = (tmp_path / "split.txt").read_text().splitlines()
    assert lines == [path.removesuffix(".png") if "f1" not in path else path for path in paths]
    (tmp_path / "said.txt").write_text("\n".join([*paths[:3], *(str(tmp_path / path) for path in paths[3:])]))
    for file in ("split.txt", "said.txt"):
        assert named_images(file, tmp_path, data) == ids


def test_a_list_of_a_json_is_named_by_its_key(tmp_path):
    data = listed(range(20))
    (tmp_path / "semi.json").write_text(json.dumps({"five": [7, 3], "ten": ["4", "000005.jpg"], "note": "nested"}))
    (tmp_path / "plain.json").write_text("[2, 1]")
    assert named_images("semi.json:five", tmp_path, data) == (3, 7)
    assert named_images("semi.json:ten", tmp_path, data) == (4, 5)
    assert named_images("plain.json", tmp_path, data) == (1, 2)
    assert named_images(f"{tmp_path}/semi.json:five", Path("/elsewhere"), data) == (3, 7)


def test_a_file_is_looked_for_below_the_root_and_then_here(tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for folder, number in (("root", 1), ("here", 2)):
        (tmp_path / folder / "both.json").write_text(json.dumps({"few": [number]}))
    Path("mine.txt").write_text("3\n")
    assert named_images("both.json:few", tmp_path / "root", listed(range(5))) == (1,)
    assert named_images("mine.txt", tmp_path / "root", listed(range(5))) == (3,)


def test_text_may_have_comments_blank_lines_and_names(tmp_path):
    (tmp_path / "odd:name.txt").write_bytes("\ufeff# five percent\r\n\r\n 3 \r\n000004.jpg\n000005\n".encode())
    assert named_images("odd:name.txt", tmp_path, listed(range(9))) == (3, 4, 5)


@pytest.mark.parametrize(
    ("said", "spec", "expected"),
    [
        (b"1\n99\n98\n2\n", "split.txt", r"split\.txt: 2 of 4 images are not in train\.json: 99, 98 \| next: allowed: image ids"),
        (b"1\n2\n1\n", "split.txt", r"split\.txt: names 1 images twice: 1 \| next: name each image once"),
        (b"1\n000001.jpg\n", "split.txt", r"names 1 images twice: 1"),
        (b"# nothing\n\n", "split.txt", r"split\.txt: names no image \| next: a split is a text with one image a line"),
        (b"\xff\xfe1", "split.txt", r"split\.txt: not UTF-8"),
        (b"1.5\n", "split.txt", r"1 of 1 images are not in train\.json: 1\.5"),
        (b"--5\n", "split.txt", r"1 of 1 images are not in train\.json: --5"),
        (b"9" * 400, "split.txt", r"1 of 1 images are not in"),
        (b'{"five": [1], "ten": [1, 2], "note": "x"}', "split.json:six", r"split\.json: has no list 'six' \| next: it has five, ten$"),
        (b'{"five": [1], "note": "x"}', "split.json:note", r"has no list 'note' \| next: it has five$"),
        (b'{"five": [1], "ten": [2]}', "split.json", r"holds several lists \| next: it has five, ten$"),
        (b'{"note": "x"}', "split.json:five", r"it has no list at all"),
        (b'{"five": []}', "split.json:five", r"split\.json: five: names no image"),
        (b'{"five": [1, [2]]}', "split.json:five", r"five\[1\]: is \[2\] \| next: allowed: an image id"),
        (b'{"five": [1, true]}', "split.json:five", r"five\[1\]: is True"),
        (b'{"five": [1, 1, 99]}', "split.json:five", r"five: 1 of 3 images are not in train\.json: 99"),
        (b'{"five": [1', "split.json:five", r"split\.json: not JSON"),
        (b"[1]", "split.json:five", r"has no list 'five' \| next: it is a list itself"),
        (b"7", "split.json", r"is 7 \| next: allowed: an image id"),
        (b"1", "absent.txt", r"absent\.txt: cannot be read .*No such file.*depthbox data split"),
        (b"1", "absent.json:five", r"absent\.json: cannot be read"),
    ],
)  # fmt: skip
def test_faults_are_said_in_one_line(tmp_path, said, spec, expected):
    (tmp_path / f"split{Path(spec.split(':')[0]).suffix}").write_bytes(said)
    with pytest.raises(InputError, match=expected) as caught:
        named_images(spec, tmp_path, listed(range(10)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_zeros_before_digits_are_of_a_photo_s_name(tmp_path):
    """Photos are often counted from 0 and ids from 1: the split must not label the photo beside the one it names."""
    (tmp_path / "split.txt").write_text("000001\n000002\n4\n")
    data = listed(range(9))
    shifted = replace(data, records=tuple(replace(record, image_id=record.image_id + 1) for record in data.records))
    assert named_images("split.txt", tmp_path, data) == (1, 2, 4)
    assert named_images("split.txt", tmp_path, shifted) == (2, 3, 4)
    (tmp_path / "split.txt").write_text("099999\n100000\n")
    many = listed([99999, 100000, 100001])
    shifted = replace(many, records=tuple(replace(record, image_id=record.image_id + 1) for record in many.records))
    assert named_images("split.txt", tmp_path, shifted) == (100000, 100001)


def test_a_folder_is_no_split(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        named_images(".", tmp_path, listed([1]))


def test_a_name_of_two_photos_is_unknown(tmp_path):
    write_photos(tmp_path)
    data = read_coco(tmp_path / "said.json", images=tmp_path, masks=False)
    (tmp_path / "split.txt").write_text("1.png\n")
    assert named_images("split.txt", tmp_path, data) == (2,)
    twins = CocoData(
        source="twins", records=data.records + data.records, class_names=("red",), category_ids=(4,), digest=""
    )
    with pytest.raises(InputError, match=r"not in twins: 1\.png"):
        named_images("split.txt", tmp_path, twins)

"""Good COCO files are read exactly; every bad one is refused in one line that names the file and the record."""

import json
import os
import pickle

import numpy as np
import pytest
from coco_document import SQUARE, compressed, document, write_photos
from PIL import Image
from pycocotools import mask as coder

from depthbox.core.errors import InputError
from depthbox.data.coco import read_coco
from depthbox.data.decode import rasterise


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def read(tmp_path, photos):
    def _read(said, *, masks=True):
        path = tmp_path / "train.json"
        path.write_bytes(said if isinstance(said, bytes) else json.dumps(said).encode())
        return read_coco(path, images=photos, masks=masks)

    return _read


@pytest.fixture
def refused(read):
    """The one line with which a file is refused."""

    def _refused(said, *, masks=True) -> str:
        with pytest.raises(InputError) as error:
            read(said, masks=masks)
        line = str(error.value)
        assert "train.json" in line and "\n" not in line and line.isascii() and len(line) < 500
        assert "next: " in line
        return line

    return _refused


def test_what_the_file_says_is_what_is_read(read, photos):
    data = read(document())
    assert data.class_names == ("person", "bus", "tooth brush") and data.category_ids == (0, 5, 90)
    assert [record.image_id for record in data.records] == [3, 7, 9]
    first, crowd, empty = data.records
    assert first.path == str(photos / "sub" / "a.png") and first.size_hw == (30, 40)
    assert first.annotation_ids.tolist() == [11, 12] and first.labels.tolist() == [2, 1]
    assert first.boxes_xyxy.tolist() == [[10, 5, 20, 15], [3, 4, 30, 20]] and first.boxes_xyxy.dtype == np.float32
    assert first.segmentations == (SQUARE, compressed()) and crowd.crowd.tolist() == [True]
    assert empty.boxes_xyxy.shape == (0, 4) and empty.labels.dtype == np.int64 and empty.segmentations == ()
    assert data.has_masks and not read(document(), masks=False).has_masks
    assert pickle.loads(pickle.dumps(data)).digest == data.digest


def test_an_uncompressed_crowd_is_compressed_as_pycocotools_does(read):
    (segmentation,) = read(document()).records[1].segmentations
    assert (
        segmentation["counts"]
        == coder.frPyObjects({"size": [30, 40], "counts": [0, 60, 1140]}, 30, 40)["counts"].decode()
    )
    assert rasterise(segmentation, (30, 40)).sum() == 60


def test_boxes_only_are_the_same_data(read):
    boxes = document()
    for annotation in boxes["annotations"]:
        del annotation["segmentation"]
    poisoned = document()
    for annotation in poisoned["annotations"]:
        annotation["segmentation"] = {"size": [100000, 100000], "counts": "garbage"}
    plain, peek = read(boxes, masks=False), read(poisoned, masks=False)
    assert plain.digest == peek.digest == read(boxes, masks=True).digest != read(document(), masks=True).digest
    assert all(record.segmentations == (None,) * len(record.labels) for record in peek.records)


def test_the_digest_follows_the_content_not_the_order(read):
    shuffled, other = document(), document()
    for key in ("images", "categories", "annotations"):
        shuffled[key].reverse()
    other["annotations"][0]["bbox"][2] += 1
    assert read(shuffled).digest == read(document()).digest != read(other).digest


def test_penn_fudan_with_and_without_masks(shared):
    root = shared / "data" / "pennfudan"
    if not root.is_dir():
        pytest.skip("no Penn-Fudan beside the repository")
    files = (root / "annotations" / name for name in ("instances_train.json", "boxes_train.json"))
    full, boxes = (read_coco(path, images=root / "images", masks=False) for path in files)
    assert full.digest == boxes.digest and len(full.records) == 120 and full.class_names == ("person",)
    for ours, theirs in zip(full.records, boxes.records, strict=True):
        assert np.array_equal(ours.boxes_xyxy, theirs.boxes_xyxy) and np.array_equal(ours.labels, theirs.labels)
        assert ours.path == theirs.path and set(ours.segmentations) <= {None}
    masked = read_coco(root / "annotations" / "instances_train.json", images=root / "images", masks=True)
    assert masked.has_masks
    record = masked.records[0]
    for segmentation, box in zip(record.segmentations, record.boxes_xyxy, strict=True):
        rows, columns = np.nonzero(rasterise(segmentation, record.size_hw))
        assert np.abs(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - box).max() <= 1


def test_rounding_beyond_the_edge_is_clipped(read):
    said = document()
    said["annotations"][1]["bbox"] = [-0.7, -0.4, 41.5, 31.0]
    assert read(said, masks=False).records[0].boxes_xyxy[0].tolist() == [0, 0, 40, 30]


def test_a_byte_order_mark_and_whole_floats_are_read(read):
    said = document()
    said["annotations"][0]["id"] = 12.0
    assert read(b"\xef\xbb\xbf" + json.dumps(said).encode()).digest == read(document()).digest


# Bad input: (where in the document, new value, what the line must say)

HUGE = 10**400
ANNOTATION = ("annotations", 0)
BAD = {
    "duplicate image": (("images", 1, "id"), 7, ["image 7", "twice"]),
    "duplicate annotation": (("annotations", 1, "id"), 12, ["annotation 12", "twice"]),
    "duplicate category": (("categories", 1, "id"), 90, ["category 90", "twice"]),
    "dangling image": ((*ANNOTATION, "image_id"), 4, ["annotation 12", "no image 4"]),
    "dangling category": ((*ANNOTATION, "category_id"), 6, ["annotation 12", "no category 6"]),
    "text id": ((*ANNOTATION, "id"), "12", ["annotations[0]", "'id' is '12'", "whole number"]),
    "huge id": ((*ANNOTATION, "id"), 2**63, ["annotations[0]", "whole number"]),
    "bool id": (("images", 0, "id"), True, ["images[0]", "whole number"]),
    "negative width": ((*ANNOTATION, "bbox"), [3, 4, -2, 5], ["annotation 12 (image 3)", "negative", "[x, y, width,"]),
    "zero height": ((*ANNOTATION, "bbox"), [3, 4, 2, 0], ["annotation 12", "zero"]),
    "lost in float32": ((*ANNOTATION, "bbox"), [3, 4, 2, 1e-12], ["annotation 12", "no area"]),
    "NaN": ((*ANNOTATION, "bbox"), [3, float("nan"), 2, 2], ["annotation 12", "nan", "finite"]),
    "infinite": ((*ANNOTATION, "bbox"), [3, 1, float("inf"), 2], ["annotation 12", "inf", "finite"]),
    "huge": ((*ANNOTATION, "bbox"), [3, 1, HUGE, 2], ["annotation 12", "finite"]),
    "text box": ((*ANNOTATION, "bbox"), ["3", "1", "2", "2"], ["annotation 12", "'3'"]),
    "three numbers": ((*ANNOTATION, "bbox"), [3, 1, 2], ["annotation 12", "four"]),
    "outside": ((*ANNOTATION, "bbox"), [60, 1, 5, 2], ["annotation 12 (image 3)", "leaves the image", "40 x 30"]),
    "too wide": ((*ANNOTATION, "bbox"), [0, 0, 43, 2], ["annotation 12", "leaves the image"]),
    "iscrowd": ((*ANNOTATION, "iscrowd"), 2, ["annotation 12", "iscrowd", "0 or 1"]),
    "odd polygon": ((*ANNOTATION, "segmentation"), [SQUARE[0], [1, 2, 3, 4, 5, 6, 7]], ["annotation 12", "polygon 1"]),
    "short polygon": ((*ANNOTATION, "segmentation"), [[1, 2, 3, 4]], ["annotation 12", "polygon 0", "at least 6"]),
    "flat polygon": ((*ANNOTATION, "segmentation"), SQUARE[0], ["annotation 12", "list of polygons"]),
    "NaN polygon": ((*ANNOTATION, "segmentation"), [[1, 2, 3, float("nan"), 5, 6]], ["annotation 12", "finite"]),
    "huge polygon": ((*ANNOTATION, "segmentation"), [[1, 2, 3, HUGE, 5, 6]], ["annotation 12", "finite"]),
    "far polygon": ((*ANNOTATION, "segmentation"), [[1, 2, 3, 1e9, 5, 6]], ["annotation 12", "leaves the image"]),
    "empty polygon": ((*ANNOTATION, "segmentation"), [[1, 1, 1, 1, 1, 1]], ["annotation 12", "no pixel"]),
    "text mask": ((*ANNOTATION, "segmentation"), "mask", ["annotation 12", "'mask'", "polygons"]),
    "RLE bomb": ((*ANNOTATION, "segmentation", "size"), [100000, 100000], ["annotation 12", "100000", "[30, 40]"]),
    "RLE swapped": ((*ANNOTATION, "segmentation", "size"), [40, 30], ["annotation 12", "[40, 30]", "[30, 40]"]),
    "RLE negative": ((*ANNOTATION, "segmentation", "size"), [-30, -40], ["annotation 12", "[-30, -40]"]),
    "RLE text size": ((*ANNOTATION, "segmentation", "size"), ["30", "40"], ["annotation 12", "'30'"]),
    "RLE garbage": ((*ANNOTATION, "segmentation", "counts"), "not a mask!", ["annotation 12", "garbage"]),
    "RLE accent": ((*ANNOTATION, "segmentation", "counts"), "\u00e9\ud800", ["annotation 12", "garbage"]),
    "RLE endless": ((*ANNOTATION, "segmentation", "counts"), "oooooooooooo0", ["annotation 12", "garbage"]),
    "RLE empty text": ((*ANNOTATION, "segmentation", "counts"), "", ["annotation 12", "garbage"]),
    "RLE short": ((*ANNOTATION, "segmentation", "counts"), "52203", ["annotation 12", "add up"]),
    "RLE list short": ((*ANNOTATION, "segmentation", "counts"), [600, 599], ["annotation 12", "add up to 1199"]),
    "RLE list negative": ((*ANNOTATION, "segmentation", "counts"), [600, -1, 601], ["annotation 12", "garbage"]),
    "RLE list of text": ((*ANNOTATION, "segmentation", "counts"), ["1200"], ["annotation 12", "counts"]),
    "RLE all background": ((*ANNOTATION, "segmentation", "counts"), [1200], ["annotation 12", "no pixel"]),
    "escaping": (("images", 0, "file_name"), "../../etc/passwd", ["image 7", "leaves the images folder"]),
    "escaping, Windows": (("images", 0, "file_name"), "..\\..\\x.png", ["image 7", "leaves the images folder"]),
    "absolute": (("images", 0, "file_name"), "/etc/passwd", ["image 7", "leaves the images folder"]),
    "absolute, Windows": (("images", 0, "file_name"), "C:\\x.png", ["image 7", "leaves the images folder"]),
    "newline": (("images", 0, "file_name"), "a\nb.png", ["image 7", "control characters", "\\n"]),
    "NUL": (("images", 0, "file_name"), "b.png\0", ["image 7", "control characters"]),
    "lone surrogate": (("images", 0, "file_name"), "\ud800.png", ["image 7", "file_name"]),
    "no such photo": (("images", 0, "file_name"), "c.png", ["image 7", "no photo 'c.png'"]),
    "a folder": (("images", 0, "file_name"), "sub", ["image 7", "no photo"]),
    "the folder itself": (("images", 0, "file_name"), ".", ["image 7"]),
    "a long name": (("images", 0, "file_name"), "x" * 5000 + "/" + "y" * 300, ["image 7", "no photo"]),
    "zero width": (("images", 0, "width"), 0, ["image 7", "0 x 30"]),
    "bomb": (("images", 0, "width"), 10**8, ["image 7", "100000000 x 30", "pixels"]),
    "class name": (("categories", 0, "name"), 5, ["category 90", "'name' is 5"]),
    "no classes": (("categories",), [], ["categories", "empty"]),
    "no images": (("images",), [], ["images", "empty"]),
    "images an object": (("images",), {"1": {}}, ["'images' is an object"]),
    "image a text": (("images", 0), "b.png", ["images[0]", "'b.png'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_refused_by_name(refused, case):
    (*place, last), value, words = BAD[case]
    said = target = document()
    for step in place:
        target = target[step]
    target[last] = value
    line = refused(said)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("place", "key"),
    [((), "images"), ((), "annotations"), ((), "categories"), (("images", 0), "height"), (("images", 0), "file_name")]
    + [(("annotations", 0), key) for key in ("id", "image_id", "category_id", "bbox")]
    + [(("categories", 0), "name"), (("annotations", 0, "segmentation"), "size")],
)
def test_missing_keys_are_named(refused, place, key):
    said = target = document()
    for step in place:
        target = target[step]
    del target[key]
    assert key in refused(said)


def test_boxes_given_by_their_corners_are_recognised(refused):
    said = document()
    said["annotations"][0]["bbox"] = [30, 12, 8, 10]
    for annotation in said["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    assert "looks like x1, y1, x2, y2" in refused(said, masks=False)
    said["annotations"][-1]["bbox"] = [20, 10, 5, 5]
    assert "leaves the image" in refused(said, masks=False)


def test_crowds_may_be_empty(read):
    said = document()
    said["annotations"][2]["segmentation"]["counts"] = [1200]
    assert read(said).has_masks


def test_files_that_are_not_json(refused):
    text = json.dumps(document(), indent=1).encode()
    assert "line 12" in refused(b"\n".join(text.split(b"\n")[:12])) and "line 1," in refused(b"")
    assert "line 3, byte 21: not UTF-8" in refused(b'{"images": [],\n"a":\n"\xff"}')
    assert "a list of 1" in refused(b"[[1]]") and "nested" in refused(b"[" * 100_000)
    assert "not JSON" in refused(b'{"images": ' + b"9" * 5000 + b"}")


def test_files_that_are_not_there(tmp_path, photos):
    for path in (tmp_path / "no.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_coco(path, images=photos, masks=False)
    (tmp_path / "a.json").write_text(json.dumps(document()))
    with pytest.raises(InputError, match="images folder does not exist"):
        read_coco(tmp_path / "a.json", images=tmp_path / "no", masks=False)
    with pytest.raises(InputError, match=r"image 7: there is no photo 'b.png' in .* \(and 2 more of 3\)"):
        read_coco(tmp_path / "a.json", images=tmp_path, masks=False)


def test_links_stay_inside_the_images_folder(tmp_path, photos):
    folder, path = tmp_path / "images", tmp_path / "a.json"
    os.symlink(photos, tmp_path / "real")
    folder.mkdir()
    os.symlink(photos / "b.png", folder / "file.png")
    os.symlink(photos, folder / "folder")
    Image.new("RGB", (40, 30)).save(folder / "own.png")
    os.symlink("own.png", folder / "alias.png")
    said = document() | {"images": [{"id": 1, "width": 40, "height": 30}], "annotations": []}

    def read_named(name, images):
        said["images"][0]["file_name"] = name
        path.write_text(json.dumps(said))
        return read_coco(path, images=images, masks=False)

    for name in ("file.png", "folder/b.png"):
        with pytest.raises(InputError, match="image 1: file_name .* is a link that leaves"):
            read_named(name, folder)
    assert read_named("alias.png", folder).records[0].path == str(folder / "alias.png")
    assert read_named("b.png", tmp_path / "real").records[0].path == str(photos / "b.png")

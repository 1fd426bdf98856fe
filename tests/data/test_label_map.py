"""Label maps in every coding that data sets use -> the same classes; what no table knows is said in a line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthbox.core.errors import InputError, UsageError
from depthbox.data.decode import BadImage
from depthbox.data.label_map import read_labels
from depthbox.data.label_table import LabelTable, read_table, source_table

TRUTH = np.array([[0, 0, 1, 2], [255, 1, 1, 2], [2, 2, 0, 255]], np.uint8)
COLOURS = {0: (128, 64, 128), 1: (0, 0, 142), 2: (107, 142, 35), 255: (0, 0, 0)}
IDS = {0: 7, 1: 26, 2: 21, 255: 0}


def own_table(folder: Path, **said: object) -> LabelTable:
    (folder / "table.json").write_text(json.dumps(said))
    return read_table("table.json", folder)


@pytest.fixture
def table(tmp_path: Path) -> LabelTable:
    ids = {"7": "road", "26": "car", "21": "tree", "0": None}
    colours = {"128,64,128": "road", "0,0,142": "car", "107,142,35": "tree", "0,0,0": None}
    return own_table(tmp_path, ids=ids, colours=colours, classes=["road", "car", "tree"])


def as_ids(dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.vectorize(IDS.get)(TRUTH).astype(dtype))


def as_colours() -> Image.Image:
    return Image.fromarray(np.array([[COLOURS[int(v)] for v in row] for row in TRUTH], np.uint8))


def as_palette(numbers: dict[int, int]) -> Image.Image:
    """Indices `numbers` of each class, with the colours of the table."""
    image = Image.fromarray(np.vectorize(numbers.get)(TRUTH).astype(np.uint8), mode="P")
    palette = np.zeros((256, 3), np.uint8)
    for label, index in numbers.items():
        palette[index] = COLOURS[label]
    image.putpalette(palette.tobytes())
    return image


CODINGS = {
    "ids": as_ids,
    "16-bit ids": lambda: as_ids(np.uint16),
    "ids with alpha": lambda: as_ids().convert("LA"),
    "colours": as_colours,
    "colours with alpha": lambda: as_colours().convert("RGBA"),
    "a palette whose indices are ids": lambda: as_palette(IDS),
    "a palette in any order": lambda: as_palette({0: 3, 1: 0, 2: 7, 255: 26}),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_gives_the_same_classes(table: LabelTable, tmp_path: Path, coding: str):
    CODINGS[coding]().save(tmp_path / "label.png")
    found = read_labels(tmp_path / "label.png", table, expect_hw=(3, 4))
    assert found.dtype == np.uint8 and np.array_equal(found, TRUTH)


def test_a_palette_without_colours_in_the_table_is_read_by_its_indices(tmp_path: Path):
    as_palette(IDS).save(tmp_path / "label.png")
    table = own_table(
        tmp_path, ids={"7": "road", "26": "car", "21": "tree", "0": None}, classes=["road", "car", "tree"]
    )
    assert np.array_equal(read_labels(tmp_path / "label.png", table), TRUTH)


def test_synthia_holds_the_class_in_the_first_of_three_16_bit_channels(tmp_path: Path):
    codes = np.array([[3, 3, 8, 22], [1, 10, 0, 13]], np.uint16)
    instances = np.arange(8, dtype=np.uint16).reshape(2, 4) + 300
    path = write_wide_png(tmp_path / "0000000.png", np.stack([codes, instances, instances * 0], -1))
    with Image.open(path) as file:
        assert np.array(file).max() == 1, "Pillow keeps the high bytes alone"
    names = read_table("synthia", tmp_path).class_names
    found = read_labels(path, read_table("synthia", tmp_path))
    assert [names[v] if v < 255 else None for v in found.ravel()] == [
        "road",
        "road",
        "car",
        None,
        "sky",
        "person",
        None,
        None,
    ]
    thirteen = read_table("synthia13", tmp_path)
    assert len(names) == 16 and set(names) - set(thirteen.class_names) == {"wall", "fence", "pole"}


def write_wide_png(path: Path, channels: np.ndarray) -> Path:
    """16-bit RGB, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = channels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_cityscapes_and_gta5_mean_the_same_by_id_and_by_colour(tmp_path: Path):
    city, gta = read_table("cityscapes", tmp_path), read_table("gta5", tmp_path)
    assert len(city.class_names) == 19 and city.class_names == gta.class_names
    assert city.class_names[city.ids[24]] == "person" and city.ids[0] == city.ids[10] == 255
    as_ids().save(tmp_path / "city.png")
    as_colours().save(tmp_path / "gta.png")
    assert np.array_equal(read_labels(tmp_path / "city.png", city), read_labels(tmp_path / "gta.png", gta))
    Image.new("RGB", (2, 1), (20, 20, 20)).save(tmp_path / "static.png")
    assert (read_labels(tmp_path / "static.png", gta) == 255).all(), "the colour of its `static`"
    plate = as_palette({0: 7, 1: 34, 2: 21, 255: 0})  # a licence plate has the colour of a car, and is none
    plate.save(tmp_path / "plate.png")
    assert (read_labels(tmp_path / "plate.png", gta)[TRUTH == 1] == 255).all()


def test_camvid_in_11_ids_and_in_32_colours(tmp_path: Path):
    table = read_table("camvid", tmp_path)
    Image.fromarray(np.array([[3, 8, 11]], np.uint8)).save(tmp_path / "ids.png")
    Image.fromarray(np.array([[[128, 0, 192], [64, 128, 192], [0, 0, 0]]], np.uint8)).save(tmp_path / "colours.png")
    found = [read_labels(tmp_path / name, table).tolist() for name in ("ids.png", "colours.png")]
    assert found == [[[3, 8, 255]]] * 2 and table.class_names[3] == "road" and table.class_names[8] == "car"


@pytest.mark.parametrize("coding", ["RGB", "RGBA", "a palette of greys"])
def test_ids_saved_as_greys_where_the_table_knows_colours_too(tmp_path: Path, coding: str):
    ids = Image.fromarray(np.array([[0, 3, 8, 11]], np.uint8))
    if coding == "a palette of greys":
        ids = Image.fromarray(np.array(ids), mode="P")
        ids.putpalette([value for value in range(256) for _ in range(3)])
    (ids if ids.mode == "P" else ids.convert(coding)).save(tmp_path / "label.png")
    assert read_labels(tmp_path / "label.png", read_table("camvid", tmp_path)).tolist() == [[0, 3, 8, 255]]


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_a_map_of_a_colour_that_is_grey_means_the_colour(tmp_path: Path, mode: str):
    Image.new("RGB", (2, 1)).convert(mode).save(tmp_path / "label.png")
    assert read_labels(tmp_path / "label.png", read_table("camvid", tmp_path)).tolist() == [[255, 255]]


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.array([[7, 99, 99, 200]], np.uint8), r"ids 99 200 not in the table table.json \(75.00%.*allowed ids are 0, 7, 21, 26, 255.*\{\"99\": \"CLASS\"\}"),
        (np.array([[[128, 64, 128], [1, 2, 3]]], np.uint8), r"colour 1,2,3 not in the table.*4 colours of the table.*\{\"1,2,3\": \"CLASS\"\}"),
        (np.array([[70000]], np.int32), "id 70000 not in the table"),
    ],
)  # fmt: skip
def test_what_the_table_does_not_know_is_said_in_one_line(
    table: LabelTable, tmp_path: Path, pixels: np.ndarray, said: str
):
    Image.fromarray(pixels).save(tmp_path / "label.tif")
    with pytest.raises(InputError, match=said) as error:
        read_labels(tmp_path / "label.tif", table)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "label.tif"))


def test_colours_where_the_table_knows_ids_alone(tmp_path: Path):
    table = own_table(tmp_path, ids={"1": "a", "2": "b"})
    as_colours().save(tmp_path / "label.png")
    with pytest.raises(InputError, match="knows ids alone, and this is a picture of colours"):
        read_labels(tmp_path / "label.png", table)
    grey = Image.fromarray(np.array([[1, 2]], np.uint8)).convert("RGB")
    grey.save(tmp_path / "grey.png")
    assert read_labels(tmp_path / "grey.png", table).tolist() == [[0, 1]]


def test_training_ids_given_as_label_ids_are_refused(tmp_path: Path):
    path = tmp_path / "a_gtFine_labelTrainIds.png"
    Image.fromarray(np.array([[0, 18, 7]], np.uint8)).save(path)
    with pytest.raises(InputError, match=r"holds training ids.*give the \*_labelIds.png files"):
        read_labels(path, read_table("cityscapes", tmp_path))


def test_255_is_void_unless_the_table_says_what_it_is(tmp_path: Path):
    Image.fromarray(np.array([[1, 255]], np.uint8)).save(tmp_path / "label.png")
    assert read_labels(tmp_path / "label.png", own_table(tmp_path, ids={"1": "a"})).tolist() == [[0, 255]]
    named = own_table(tmp_path, ids={"1": "a", "255": "b"})
    assert read_labels(tmp_path / "label.png", named).tolist() == [[0, 1]]
    with pytest.raises(InputError, match="id 255 not in the table camvid"):
        read_labels(tmp_path / "label.png", read_table("camvid", tmp_path))


@pytest.mark.parametrize("kind", ["empty", "garbage", "truncated", "jpeg", "float", "missing", "size"])
def test_a_file_that_is_no_label_map_concerns_itself_alone(table: LabelTable, tmp_path: Path, kind: str):
    path = tmp_path / ("label.tif" if kind == "float" else "label.png")
    as_ids().save(path, format="TIFF" if kind == "float" else "JPEG" if kind == "jpeg" else "PNG")
    whole = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "float":
        Image.fromarray(np.ones((3, 4), np.float32)).save(path)
    elif kind in ("empty", "garbage", "truncated"):
        path.write_bytes({"empty": b"", "garbage": b"\x89PNG\r\n\x1a\nxx", "truncated": whole[:-25]}[kind])
    with pytest.raises(BadImage):
        read_labels(path, table, expect_hw=(4, 3) if kind == "size" else None)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("[1]", "is \\[1\\]"), ("{", "cannot be read as JSON"), ("{}", "names 0 classes"),
        ('{"ids": {"x": "a"}}', "is no id"), ('{"ids": {"-1": "a"}}', "is no id"), ('{"ids": {"1": 5}}', "not the name of a class"),
        ('{"colours": {"1,2": "a"}}', "is no colour"), ('{"colours": {"1,2,300": "a"}}', "is no colour"),
        ('{"ids": {"1": "a"}, "classes": ["b"]}', "list every class"), ('{"ids": []}', "is \\[\\]"),
    ],
)  # fmt: skip
def test_a_table_that_is_none(tmp_path: Path, said: str, match: str):
    (tmp_path / "table.json").write_text(said)
    with pytest.raises(InputError, match=match):
        read_table("table.json", tmp_path)


def test_a_table_s_name(tmp_path: Path):
    with pytest.raises(UsageError, match="cityscapes, gta5, synthia"):
        read_table("", tmp_path)
    with pytest.raises(InputError, match=r"is no built-in table and no file .*did you mean cityscapes\?"):
        read_table("cityscape", tmp_path)


def test_source_and_target_get_one_numbering(tmp_path: Path):
    target = own_table(tmp_path, ids={"0": "road", "1": "car", "2": "tree"})
    source = own_table(tmp_path, ids={"5": "tree", "6": "road", "7": "car", "8": None})
    theirs, ours = source_table(source, target, shared=False)
    assert theirs.class_names == ours.class_names == ("road", "car", "tree")
    assert theirs.ids == {5: 2, 6: 0, 7: 1, 8: 255, 255: 255}


def test_other_classes_in_the_source_are_refused_or_left_out_as_asked(tmp_path: Path):
    city, synthia = read_table("cityscapes", tmp_path), read_table("synthia", tmp_path)
    with pytest.raises(InputError, match="terrain, truck, train only in cityscapes.*data.classes=shared"):
        source_table(synthia, city, shared=False)
    theirs, ours = source_table(synthia, city, shared=True)
    assert theirs.class_names == ours.class_names and len(ours.class_names) == 16
    assert ours.ids[27] == 255 and ours.class_names[ours.ids[26]] == "car" == theirs.class_names[theirs.ids[8]]
    with pytest.raises(InputError, match="shares 0 class names"):
        source_table(own_table(tmp_path, ids={"0": "cat"}), city, shared=True)


def test_blocks_table(shared: Path):
    blocks = shared / "data" / "blocks"
    if not blocks.is_dir():
        pytest.skip("blocks is absent")
    table = read_table("semantic_ids.json", blocks)
    assert len(table.class_names) == 10
    assert len(np.unique(read_labels(blocks / "video" / "seq_00" / "semantic_000.png", table))) > 5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "I", "F"])
def test_damaged_bytes_of_any_picture_end_in_words(table: LabelTable, tmp_path: Path, mode: str):
    rng = np.random.default_rng(len(mode) + ord(mode[0]))
    path = tmp_path / "label.tif"
    Image.fromarray(rng.integers(0, 40, (8, 9, 3), dtype=np.uint8)).convert("L").convert(mode).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.3 else damaged))
        try:
            assert read_labels(path, table).shape
        except (BadImage, InputError) as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 19])
def test_a_palette_of_the_first_numbers_is_not_read_as_void(tmp_path: Path, count: int):
    """Ids 0 to 6 of Cityscapes are void, and many tools number the classes they save from 0."""
    table = read_table("cityscapes", tmp_path)
    by_class = {number: colour for colour, number in table.colours.items() if number != 255}
    image = Image.fromarray(np.arange(count, dtype=np.uint8)[None], mode="P")
    image.putpalette(bytes(value for number in range(count) for value in by_class[number]))
    image.save(tmp_path / "label.png")
    assert read_labels(tmp_path / "label.png", table).tolist() == [list(range(count))]
    image.putpalette(bytes((1, 64, 128)) + bytes(by_class[1]) * (count - 1))
    image.save(tmp_path / "label.png")
    if count > 1:
        with pytest.raises(InputError, match=r"label\.png"):
            read_labels(tmp_path / "label.png", table)

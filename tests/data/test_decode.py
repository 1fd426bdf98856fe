"""Any photo becomes upright RGB of the wanted size, or a BadImage with a reason; masks are those of pycocotools."""

import io
import pickle
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pycocotools import mask as coder

from depthbox.core.errors import InputError
from depthbox.data.decode import MAX_PIXELS, BadImage, decode_record, rasterise, read_image
from depthbox.data.schema import ImageRecord


def picture(height: int = 48, width: int = 64) -> Image.Image:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 0 * x], -1).astype(np.uint8))


@pytest.fixture
def stored(tmp_path):
    def _stored(image: Image.Image | bytes, name: str = "photo.png", **options) -> str:
        path = tmp_path / name
        path.write_bytes(image) if isinstance(image, bytes) else image.save(path, **options)
        return str(path)

    return _stored


def read(path, **options):
    return read_image(path, **({"short_side": None, "max_side": None} | options))


def reason(path, **options) -> str:
    with pytest.raises(BadImage) as error:
        read(path, **options)
    assert error.value.path == str(path) and "\n" not in str(error.value)
    assert pickle.loads(pickle.dumps(error.value)).reason == error.value.reason
    return error.value.reason


def test_pixels_size_and_digest(stored):
    path = stored(picture())
    decoded = read(path)
    assert np.array_equal(decoded.image, np.asarray(picture())) and decoded.size_hw == (48, 64)
    assert decoded.image.flags.writeable and decoded.image.flags.c_contiguous and len(decoded.digest) == 32
    copy = stored(picture(), "copy.png")
    assert read(copy, short_side=16).digest == decoded.digest != read(stored(picture(), "b.bmp")).digest


@pytest.mark.parametrize(
    ("short_side", "max_side", "expected_hw"),
    [(None, None, (48, 64)), (24, None, (24, 32)), (96, None, (96, 128)), (96, 100, (75, 100)), (None, 32, (24, 32)),
     (48, 64, (48, 64)), (None, 999, (48, 64)), (1, 1, (1, 1))],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_resizing(stored, short_side, max_side, expected_hw, name):
    decoded = read(stored(picture(), name), short_side=short_side, max_side=max_side)
    assert decoded.image.shape == (*expected_hw, 3) and decoded.size_hw == (48, 64)


def test_shrinking_averages(stored):
    checker = Image.fromarray((np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8))
    for name in ("a.png", "a.jpg"):
        small = read(stored(checker, name), short_side=32).image
        assert abs(small.astype(int) - 128).max() < 12


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_other_modes_become_rgb(stored, mode):
    image = picture().convert(mode)
    path = stored(image, "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    ours = read(path).image
    assert ours.shape == (48, 64, 3) and ours.dtype == np.uint8
    assert abs(ours.astype(int) - np.asarray(image.convert("RGB"))).mean() < 6


def test_transparency_lies_over_black(stored):
    white = Image.new("RGBA", (4, 4), (255, 255, 255, 51))
    assert (read(stored(white)).image == 51).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    assert (read(stored(palette)).image == (200, 100, 50)).all()
    assert (read(stored(palette, transparency=1)).image == 0).all()
    assert (read(stored(Image.new("RGB", (4, 4), (7, 8, 9)), transparency=(7, 8, 9))).image == 0).all()


def test_sixteen_bits_are_scaled_by_257(stored):
    values = np.array([[0, 257, 65535, 32896]], np.uint16)
    for name in ("a.png", "a.tif"):
        assert read(stored(Image.fromarray(values), name)).image[0, :, 1].tolist() == [0, 1, 255, 128]
    assert "floating-point" in reason(stored(Image.fromarray(np.ones((4, 4), np.float32)), "a.tif"))
    assert "32-bit" in reason(stored(Image.fromarray(np.full((4, 4), 70000, np.int32)), "a.tif"))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_exif_is_applied_where_the_annotations_want_it(stored, turn, name):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = stored(picture(), name, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    raw, swapped = np.asarray(picture()).astype(int), turn >= 5
    with Image.open(path) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).astype(int)
    for expected in (None, (64, 48) if swapped else (48, 64)):
        decoded = read(path, expect_hw=expected)
        assert decoded.size_hw == upright.shape[:2] and abs(decoded.image - upright).max() <= 8
    small = read(path, short_side=24)
    assert small.image.shape[:2] == ((32, 24) if swapped else (24, 32))
    if swapped:
        kept = read(path, expect_hw=(48, 64))
        assert kept.size_hw == (48, 64) and abs(kept.image - raw).max() <= 8
    assert "64x48" in reason(path, expect_hw=(48, 65)) and "65x48" in reason(path, expect_hw=(48, 65))


def test_a_record_and_its_file_must_agree(stored):
    columns = {"boxes_xyxy": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64), "crowd": np.zeros(0, bool)}
    columns |= {"segmentations": (), "annotation_ids": np.zeros(0, np.int64), "image_id": 1}
    path = stored(picture())
    record = ImageRecord(path=path, size_hw=(48, 64), **columns)
    assert decode_record(record, short_side=24, max_side=None).image.shape == (24, 32, 3)
    with pytest.raises(BadImage, match="annotations say 48x64"):
        decode_record(ImageRecord(path=path, size_hw=(64, 48), **columns), short_side=24, max_side=None)


def test_files_that_are_no_photos(stored, tmp_path):
    assert "0 bytes" in reason(stored(b""))
    assert "not an image" in reason(stored(b"PK\x03\x04 nothing of the kind"))
    assert "not an image" in reason(stored(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))
    assert "cannot be read" in reason(tmp_path / "no.png") and "cannot be read" in reason(tmp_path)
    assert "cannot be read" in reason("a\0b")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif", "a.tif", "a.webp"])
def test_truncated_files(stored, name):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    with open(stored(noise, name), "rb") as file:
        whole = file.read()
    read(stored(whole, name))
    for share in (0.5, 0.9):
        assert reason(stored(whole[: int(len(whole) * share)], name))


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_001, 10_000), (65_000, 65_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_from_the_header(stored, size):
    start = time.perf_counter()
    assert str(MAX_PIXELS) in reason(stored(bomb(*size)), short_side=64)
    assert time.perf_counter() - start < 0.5
    assert "elongated" in reason(stored(Image.new("L", (20_000, 1))), short_side=256)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM"]))
def test_damaged_bytes_give_a_photo_or_a_reason(tmp_path_factory, data, kind):
    buffer = io.BytesIO()
    picture(12, 16).save(buffer, kind)
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        image = read(path, short_side=8, max_side=32).image
        assert image.shape[2] == 3 and max(image.shape) <= 32
    except BadImage as bad:
        assert bad.reason


def test_a_photo_is_decoded_in_milliseconds(stored):
    y, x = np.mgrid[0:536, 0:559]
    waves = np.stack([np.sin(x / 7) * np.cos(y / 11), np.sin(y / 5), np.cos((x + y) / 13)], -1) * 100 + 128
    path = stored(Image.fromarray(waves.astype(np.uint8)), "a.jpg", quality=90)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        read(path, short_side=256, max_side=448)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.015  # 2 ms on an idle core; the bound leaves room for a busy machine


# Masks


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=9))
def test_rle_round_trip(rows):
    mask = np.array(rows, bool)
    packed = coder.encode(np.asfortranarray(mask, np.uint8))
    flat = mask.ravel(order="F").astype(np.int8)
    edges = [*np.flatnonzero(np.diff(flat, prepend=0)).tolist(), flat.size]
    runs = np.diff([0, *edges]).tolist()
    for counts in (packed["counts"].decode(), runs):
        drawn = rasterise({"size": list(mask.shape), "counts": counts}, mask.shape)
        assert np.array_equal(drawn, mask) and drawn.dtype == bool and drawn.flags.c_contiguous


def test_polygons_are_united():
    polygons = [[1, 1, 5, 1, 5, 5, 1, 5], [3, 3, 9, 3, 9, 9, 3, 9]]
    mask = rasterise(polygons, (12, 10))
    assert mask.shape == (12, 10) and mask.sum() == 16 + 36 - 4 and mask[1:5, 1:5].all()


@pytest.mark.parametrize(
    "garbage",
    [None, 3, [1, 2, 3], [[0, 0, 1e12, 0, 5, 5]], [["0"] * 6], {"size": [12, 10], "counts": b"12"},
     {"size": [12, 10], "counts": "zzzz"}, {"size": [100000, 100000], "counts": [10**10]}, {}],
)  # fmt: skip
def test_masks_that_would_crash_pycocotools_are_refused(garbage):
    with pytest.raises(InputError):
        rasterise(garbage, (12, 10))

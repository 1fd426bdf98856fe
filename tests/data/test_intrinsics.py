"""Intrinsics in all their forms become shares of the image; what cannot be of these frames is refused in one line."""

import json
from pathlib import Path

import pytest

from depthbox.core.errors import InputError
from depthbox.data.intrinsics import read_intrinsics

PIXELS = {"fx": 200, "fy": 150, "cx": 128, "cy": 96, "width": 256, "height": 192}


def read(folder: Path, content: object, *, size_hw: tuple[int, int] = (192, 256)) -> tuple[float, ...]:
    inner = folder / "city" / "seq"
    inner.mkdir(parents=True, exist_ok=True)
    (folder / "intrinsics.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_intrinsics(inner, root=folder, size_hw=size_hw, first=inner / "a.jpg").values


def test_pixels_and_shares_say_the_same(tmp_path: Path):
    said = (200 / 256, 150 / 192, 0.5, 0.5)
    assert read(tmp_path, PIXELS) == said
    assert read(tmp_path, dict(zip(("fx", "fy", "cx", "cy"), said, strict=True))) == said


def test_whole_numbers_at_pixel_centres_are_half_a_pixel_on(tmp_path: Path):
    found = read(tmp_path, PIXELS | {"cx": 127.5, "cy": 95.5, "pixel_centres": "integer coordinates"})
    assert found[2:] == (0.5, 0.5)


def test_what_is_not_said_is_said_above_or_by_the_middle_of_the_image(tmp_path: Path):
    """A sequence's own file may leave out what the file of the set says."""
    (tmp_path / "city").mkdir()
    (tmp_path / "city" / "intrinsics.json").write_text(json.dumps(PIXELS | {"cx": 100.5, "cy": 95.5}))
    said = PIXELS | {"pixel_centres": "integer coordinates"}
    assert read(tmp_path, said)[2:] == (101 / 256, 0.5)
    assert read(tmp_path, PIXELS)[2:] == (100.5 / 256, 95.5 / 192)
    (tmp_path / "city" / "intrinsics.json").write_text(json.dumps(PIXELS | {"cx": 127.5, "cy": 95.5}))
    assert read(tmp_path, PIXELS)[2:] == (0.5, 0.5)
    assert read(tmp_path, PIXELS | {"pixel_centres": "half coordinates"})[2:] == (127.5 / 256, 95.5 / 192)


def test_the_rendered_scenes_have_their_middle_in_the_middle(shared: Path):
    root = shared / "data" / "blocks" / "video"
    found = read_intrinsics(root / "seq_00", root=root.parent, size_hw=(192, 256), first=root / "seq_00" / "a.jpg")
    assert found.values == (200 / 256, 200 / 192, 0.5, 0.5)


def test_the_nearest_file_counts(tmp_path: Path):
    (tmp_path / "city").mkdir()
    (tmp_path / "city" / "intrinsics.json").write_text(json.dumps(PIXELS | {"fx": 100}))
    assert read(tmp_path, PIXELS)[0] == 100 / 256


def test_a_sequence_that_is_the_root_has_its_file_above_it(tmp_path: Path):
    (tmp_path / "intrinsics.json").write_text(json.dumps(PIXELS), encoding="utf-8-sig")
    root = tmp_path / "drive"
    root.mkdir()
    found = read_intrinsics(root, root=root, size_hw=(192, 256), first=root / "a.jpg")
    assert found.fx == PIXELS["fx"] / PIXELS["width"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {k: v for k, v in PIXELS.items() if k not in ("width", "height")},
            "fx = 200.*shares of the image are expected",
        ),
        ({"fx": 0.8, "fy": 0.8, "cx": 0.5, "cy": 0.5, "width": 256, "height": 192}, "look like shares"),
        (PIXELS | {"cx": 0.5, "cy": 0.5}, "fx = 200, cx = 0.5: some are pixels, some shares"),
        (PIXELS | {"fx": 0.8}, "some are pixels, some shares"),
        (PIXELS | {"width": 512, "height": 384}, "is of images 512x384, the frames are 256x192"),
        ({k: v for k, v in PIXELS.items() if k != "width"}, "width: is missing"),
        ({k: v for k, v in PIXELS.items() if k != "fy"}, "fy: is missing"),
        (PIXELS | {"fx": "200"}, "fx: is '200', not a number"),
        (PIXELS | {"fx": float("nan")}, "fx: is nan, not a number"),
        (PIXELS | {"fx": -200}, "focal length of -0.781 image widths"),
        (PIXELS | {"cx": 300}, "principal point lies outside"),
        (PIXELS | {"pixel_centres": "corners"}, "pixel_centres: is 'corners'"),
        (json.dumps(PIXELS).replace("200", "2" * 400, 1), "fx: is 222.*, not a number"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: object, words: str):
    with pytest.raises(InputError, match=words) as error:
        read(tmp_path, content)
    assert "intrinsics.json" in str(error.value) and "\n" not in str(error.value) and "| next: " in str(error.value)


def test_without_a_file_the_form_is_shown(tmp_path: Path):
    with pytest.raises(InputError, match=r'no intrinsics\.json in it or above it.*"fx": 200'):
        read_intrinsics(tmp_path, root=tmp_path, size_hw=(192, 256), first=tmp_path / "a.jpg")


def test_cityscapes_and_kitti_as_they_come(tmp_path: Path):
    city = tmp_path / "leftImg8bit_sequence" / "train" / "aachen"
    cameras = tmp_path / "camera" / "train" / "aachen"
    cameras.mkdir(parents=True)
    said = {"intrinsic": {"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1}}
    (cameras / "aachen_000000_000019_camera.json").write_text(json.dumps(said))
    first = city / "aachen_000000_000004_leftImg8bit.png"
    found = read_intrinsics(city, root=tmp_path, size_hw=(1024, 2048), first=first)
    assert found.values == pytest.approx((1.1047, 2.2122, 0.5356, 0.5011), abs=1e-4)
    day = tmp_path / "2011_09_26"
    drive = day / "2011_09_26_drive_0001_sync"
    drive.mkdir(parents=True)
    rows = "S_rect_02: 1.242e+03 3.75e+02\nP_rect_02: 721.5 0 609.5 44.8 0 721.5 172.8 0.2 0 0 1 0.002\n"
    (day / "calib_cam_to_cam.txt").write_text(rows)
    kitti = read_intrinsics(drive, root=tmp_path, size_hw=(375, 1242), first=drive / "0.png")
    assert kitti.values == pytest.approx((721.5 / 1242, 721.5 / 375, 610 / 1242, 173.3 / 375))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x80", b"S_rect_02: 64 48\nP_rect_02: nan 0 32 0 0 nan 24 0 0 0 1 0\n"]
)
def test_a_kitti_file_that_is_none_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "calib_cam_to_cam.txt").write_bytes(content)
    with pytest.raises(InputError, match="calib_cam_to_cam.txt.*(holds no P_rect_02|is no camera's)"):
        read_intrinsics(tmp_path, root=tmp_path, size_hw=(48, 64), first=tmp_path / "0.png")

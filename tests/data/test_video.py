"""Folders of frames become triples with depth beside them; what depth cannot be learnt from is refused in words."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_video import write_tiny_video

from depthbox.core.errors import InputError, UsageError
from depthbox.data.video import read_video
from depthbox.data.video_files import depth_of, find_sequences


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_video(tmp_path / "video")


def names(data) -> list[str]:
    return [Path(record.path).name for record in data.records]


def test_a_frame_needs_one_before_and_one_after(data: Path):
    video = read_video(data, ["seq_*"])
    assert video.sequences == ("seq_0", "seq_1") and len(video.records) == 8
    first = video.records[0]
    assert [Path(p).name for p in (first.before, first.path, first.after)] == [f"frame_00{i}.png" for i in range(3)]
    assert Path(first.depth).name == "depth_001.png" and first.size_hw == (48, 64)
    assert first.intrinsics.values == (0.75, 1.0, 0.5, 0.5)
    wider = read_video(data, ["seq_0"], gaps=(2,))
    assert names(wider) == ["frame_002.png", "frame_003.png"]
    assert video.digest != wider.digest == read_video(data, ["seq_0"], gaps=(2,)).digest
    assert names(read_video(data, ["seq_0"], gaps=(2, 9, 1)))[1:4] == [
        "frame_003.png",
        "frame_001.png",
        "frame_002.png",
    ]


def test_numbers_are_sorted_as_numbers_and_links_between_sequences_do_not_exist(data: Path):
    for i, file in enumerate(sorted((data / "seq_0").glob("frame_*"))):
        file.rename(data / "seq_0" / f"frame_{8 + i}.png")
    assert names(read_video(data, ["seq_0"])) == [f"frame_{i}.png" for i in (9, 10, 11, 12)]


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_too_few_frames(data: Path, frames: int):
    for file in sorted((data / "seq_0").glob("frame_*"))[frames:]:
        file.unlink()
    words = "no photo is in it" if not frames else f"has {frames} frames?, and .*: 3 are needed"
    with pytest.raises(InputError, match=words):
        read_video(data, ["seq_0"])


def test_frames_of_another_size_are_named(data: Path):
    file = data / "seq_0" / "frame_003.png"
    Image.open(file).resize((32, 24)).save(file)
    with pytest.raises(InputError, match=r"frame_003\.png: is 32x24, the frames before it are 64x48"):
        read_video(data, ["seq_0"])


def test_a_still_video_is_refused_and_a_still_sequence_left_out(data: Path, tmp_path: Path):
    still = write_tiny_video(tmp_path / "still", still=True)
    with pytest.raises(InputError, match="seq_0, seq_1: nothing moves"):
        read_video(still, ["seq_*"])
    shutil.copytree(still / "seq_1", data / "seq_2")
    video = read_video(data, ["seq_*"])
    assert video.sequences == ("seq_0", "seq_1")
    assert video.findings == (f"{data}: seq_2: nothing moves in it; it is left out",)


def test_a_damaged_frame_is_named(data: Path):
    (data / "seq_0" / "frame_002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"frame_002\.png: cannot be read as a picture"):
        read_video(data, ["seq_0"])


def test_a_frame_whose_rest_is_missing_is_left_to_the_run(data: Path):
    file = data / "seq_0" / "frame_002.png"
    file.write_bytes(file.read_bytes()[:600])
    assert len(read_video(data, ["seq_0"]).records) == 4


def test_words_for_what_is_not_there(data: Path):
    with pytest.raises(UsageError, match=r"data\.val\.sequences= is needed"):
        read_video(data, [], name="data.val")
    with pytest.raises(InputError, match=r"no such folder.*seq_\*.*has seq_0, seq_1"):
        read_video(data, ["nothing"])
    (data / "intrinsics.json").unlink()
    with pytest.raises(InputError, match=r"seq_0: no intrinsics\.json"):
        read_video(data, ["seq_0"])


def test_two_kinds_of_photo_need_a_pattern(data: Path):
    for file in sorted((data / "seq_0").glob("frame_*"))[:4]:
        shutil.copy(file, file.with_name(file.name.replace("frame", "right")))
    with pytest.raises(InputError, match=r"more than one kind: frame_...\.png, right_.*data\.frames='frame_"):
        read_video(data, ["seq_0"])
    assert len(read_video(data, ["seq_0"], frames="frame_*.png").records) == 4


@pytest.mark.parametrize(
    ("frame", "depth", "pattern"),
    [("a7.jpg", "a7.depth.png", ""), ("rgb_7.png", "depth_7.npy", ""), ("x/c7.png", "x/d/z007.png", "d/*.png")],
)
def test_depth_beside_a_frame(tmp_path: Path, frame: str, depth: str, pattern: str):
    (tmp_path / depth).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / depth).touch()
    assert depth_of(tmp_path / frame, pattern) == str(tmp_path / depth)
    assert depth_of((tmp_path / frame).with_name("b8.jpg"), pattern) == ""


def test_a_city_of_cityscapes_holds_many_sequences_and_kitti_one(tmp_path: Path):
    city, kitti = tmp_path / "aachen", tmp_path / "drive" / "image_02" / "data"
    for folder in (city, kitti):
        folder.mkdir(parents=True)
    for sequence in (0, 1):
        for frame in (9, 10, 11):
            (city / f"aachen_{sequence:06d}_{frame:06d}_leftImg8bit.png").touch()
            (kitti / f"{frame:010d}.png").touch()
    found = find_sequences(tmp_path, ["aachen", "drive"], name="data.train")
    assert [(title, len(files)) for title, _, files in found] == [
        ("aachen_000000", 3),
        ("aachen_000001", 3),
        ("drive", 3),
    ]


def test_two_sequences_may_have_two_cameras(data: Path):
    camera = json.loads((data / "intrinsics.json").read_text())
    (data / "seq_1" / "intrinsics.json").write_text(json.dumps(camera | {"fx": 32}))
    video = read_video(data, ["seq_0", "seq_1"])
    assert {record.intrinsics.fx for record in video.records} == {0.75, 0.5}

"""Folders of frames become triples with depth beside them; what depth cannot be learnt from is refused in words."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_video import write_tiny_video

from depthbox.core.errors import InputError, UsageError
from depthbox.data import video_files
from depthbox.data.video import moves, read_video
from depthbox.data.video_files import depths_of, find_sequences, jumps


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


@pytest.mark.parametrize(("pixels_a_frame", "is_moving"), [(0.0, False), (0.5, True)])
def test_noise_is_no_motion(tmp_path: Path, pixels_a_frame: float, is_moving: bool):
    """Slow enough that neighbours differ little more than by their noise."""
    draw = np.random.default_rng(0)
    waves = 128 + 60 * np.sin(np.arange(96)[:, None] / 11) + 60 * np.sin(np.arange(400) / 9)
    files = []
    for i in range(12):
        columns = np.arange(128) + pixels_a_frame * i
        frame = np.stack([np.interp(columns, np.arange(400), row) for row in waves]) + draw.normal(0, 2, (96, 128))
        files.append(tmp_path / f"{i}.jpg")
        Image.fromarray(frame.clip(0, 255).astype(np.uint8)).convert("RGB").save(files[-1], quality=90)
    assert moves(files, 1) is is_moving


def test_cityscapes_frames_are_counted_by_their_own_number(tmp_path: Path):
    frames = [tmp_path / f"aachen_000000_{i:06d}_leftImg8bit.png" for i in (6, 7, 8, 500)]
    maps = [tmp_path / f"aachen_000000_{i:06d}_disparity.png" for i in (6, 8)]
    for file in (*frames, *maps):
        file.touch()
    assert depths_of(frames, "*_disparity.png") == [str(maps[0]), "", str(maps[1]), ""]
    assert jumps(frames) == [(frames[2], frames[3])]


@pytest.mark.parametrize(("number", "length"), [(2, 600), (2, 0), (0, 0)])
def test_a_damaged_frame_is_left_to_the_run(data: Path, number: int, length: int):
    file = data / "seq_0" / f"frame_00{number}.png"
    file.write_bytes(file.read_bytes()[:length])
    video = read_video(data, ["seq_0"])
    assert len(video.records) == 4 and {record.size_hw for record in video.records} == {(48, 64)}


def test_frames_that_are_all_damaged_are_refused(data: Path):
    for file in (data / "seq_0").glob("frame_*"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"frame_000\.png: cannot be read as a picture, and none of the 6 frames can"):
        read_video(data, ["seq_0"])


def test_frames_have_the_size_that_they_are_shown_at(data: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for file in (data / "seq_0").glob("frame_*"):
        Image.open(file).rotate(90, expand=True).save(file, exif=exif)
    assert read_video(data, ["seq_0"]).records[0].size_hw == (48, 64)


def test_a_folder_of_two_patterns_is_one_sequence(data: Path):
    assert read_video(data, ["seq_*", "seq_0"]).sequences == ("seq_0", "seq_1")


def test_numbers_that_jump_are_said(data: Path):
    (data / "seq_1" / "frame_005.png").rename(data / "seq_1" / "frame_012.png")
    (said,) = read_video(data, ["seq_*"]).findings
    assert "seq_1: the numbers of its frames jump 1 time, such as from frame_004.png to frame_012.png" in said
    fractions = [Path(f"{second}.{fraction}.png") for second, fraction in ((1, 95), (2, 5), (2, 65), (3, 25))]
    assert jumps(fractions) == [] and jumps([Path("a.png"), Path("b.png")]) == []


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
    [
        ("a7.jpg", "a7.depth.png", ""),
        ("rgb_7.png", "depth_7.npy", ""),
        ("frame-07.color.png", "frame-07.depth.png", ""),
        ("x/c7.png", "x/d/z007.png", "d/*.png"),
        ("x[1]/c7.png", "x[1]/d/z007.png", "d/*.png"),
        ("x/c7.png", "y/z007.png", "{root}/y/*.png"),
    ],
)
def test_depth_beside_a_frame(tmp_path: Path, frame: str, depth: str, pattern: str):
    (tmp_path / depth).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / depth).touch()
    frames = [tmp_path / frame, (tmp_path / frame).with_name("b8.jpg")]
    assert depths_of(frames, pattern.format(root=tmp_path)) == [str(tmp_path / depth), ""]


def test_a_pattern_of_many_folders_means_the_folder_of_the_frame_s_name(data: Path):
    for record in read_video(data, ["seq_*"], depths=f"{data}/seq_*/depth_*.png").records:
        assert record.depth == record.path.replace("frame", "depth")


def test_two_maps_of_a_frame_are_refused(data: Path):
    shutil.copy(data / "seq_0" / "depth_001.png", data / "seq_0" / "other_depth_001.png")
    with pytest.raises(InputError, match=r"frame_001\.png: has more than one map.*/depth_001.*/other_depth_001"):
        read_video(data, ["seq_0"], depths="*depth_*.png")


def test_a_folder_is_searched_for_maps_once_a_sequence(data: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(
        video_files.glob, "glob", lambda *a, find=video_files.glob.glob, **k: asked.append(a) or find(*a, **k)
    )
    assert read_video(data, [f"{data}/seq_0"], depths="depth_*.png").records[0].depth.endswith("depth_001.png")
    assert len(asked) == 1


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

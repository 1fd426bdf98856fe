"""Photos that are frames: neighbours and camera, in folders of their own and in Cityscapes' sequence package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_semantic import write_labelled_video
from tiny_video import write_tiny_video

from depthbox.core.errors import InputError
from depthbox.data.label_table import read_table
from depthbox.data.semantic import SemanticData, read_semantic
from depthbox.data.semantic_video import with_neighbours


def read(root: Path, images: str, labels: str, table: str) -> SemanticData:
    return read_semantic(root, images=images, labels=labels, table=read_table(table, root))


def names(data: SemanticData) -> dict[str, tuple[str, str]]:
    return {Path(r.path).name: (Path(r.before).name, Path(r.after).name) for r in data.records if r.intrinsics}


def test_neighbours_stay_within_their_sequence(tmp_path: Path):
    data = read(write_labelled_video(tmp_path), "seq_[01]/frame_*.png", "seq_[01]/semantic_*.png", "table.json")
    found = with_neighbours(data, tmp_path, gap=2)
    near = [(r.before, r.path, r.after) for r in found.records if r.intrinsics]
    assert len(near) == 2 * 2 and len(found.records) == 12
    for before, path, after in near:
        assert Path(before).parent == Path(path).parent == Path(after).parent
        numbers = [int(Path(one).stem[-3:]) for one in (before, path, after)]
        assert numbers[1] - numbers[0] == numbers[2] - numbers[1] == 2
    assert found.digest != data.digest


def city(root: Path, cameras: dict[str, float]) -> Path:
    """Drives in Cityscapes' layout: one labelled frame of each, and the frames around it; one camera a drive."""
    for drive, focal in cameras.items():
        for package, frames in (("leftImg8bit", [19]), ("leftImg8bit_sequence", [18, 19, 20])):
            folder = root / package / "train" / "aachen"
            folder.mkdir(parents=True, exist_ok=True)
            for frame in frames:
                photo = Image.new("L", (2048, 1024), 10 * (frame - 18)).convert("RGB")  # brighter: it moves
                photo.save(folder / f"{drive}_{frame:06d}_leftImg8bit.png", compress_level=1)
        (root / "gtFine/train/aachen").mkdir(parents=True, exist_ok=True)
        ids = np.full((1024, 2048), 7, np.uint8)
        Image.fromarray(ids).save(root / f"gtFine/train/aachen/{drive}_000019_gtFine_labelIds.png")
        (root / "camera/train/aachen").mkdir(parents=True, exist_ok=True)
        said = {"intrinsic": {"fx": focal, "fy": focal, "u0": 1024.0, "v0": 512.0}}
        (root / f"camera/train/aachen/{drive}_000019_camera.json").write_text(json.dumps(said))
    return root


def test_cityscapes_neighbours_lie_in_the_sequence_package_with_a_camera_a_drive(tmp_path: Path):
    root = city(tmp_path, {"aachen_000000": 2262.5, "aachen_000001": 1024.0})
    data = read(root, "leftImg8bit/train", "gtFine/train", "cityscapes")
    found = with_neighbours(data, root, gap=1, frames="leftImg8bit_sequence/train/*/*_leftImg8bit.png")
    name = "{}_000019_leftImg8bit.png"
    assert names(found)[name.format("aachen_000000")] == (
        "aachen_000000_000018_leftImg8bit.png",
        "aachen_000000_000020_leftImg8bit.png",
    )
    assert [r.intrinsics.fy for r in found.records if r.intrinsics] == pytest.approx([2262.5 / 1024, 1.0])
    assert all("leftImg8bit_sequence" in r.before for r in found.records)
    with pytest.raises(InputError, match="no photo has a frame 1 before and 1 after it"):
        with_neighbours(data, root, gap=1)


@pytest.mark.parametrize("frames", ["", "video/seq_*/rgb/*.png"])
def test_sequences_whose_folders_have_one_name(tmp_path: Path, frames: str):
    write_labelled_video(tmp_path / "flat")
    for kind, name in (("frame", "rgb"), ("semantic", "classes")):
        for file in (tmp_path / "flat").glob(f"seq_[01]/{kind}_*.png"):
            for place in ("video", "labelled"):
                folder = tmp_path / place / file.parent.name / name
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / f"f_{file.stem[-3:]}.png")
    shutil.copy(tmp_path / "flat" / "intrinsics.json", tmp_path / "video" / "intrinsics.json")
    shutil.copy(tmp_path / "flat" / "table.json", tmp_path / "table.json")
    place = "labelled" if frames else "video"
    data = read(tmp_path, f"{place}/seq_*/rgb/f_*.png", f"{place}/seq_*/classes/f_*.png", "table.json")
    near = [r for r in with_neighbours(data, tmp_path, gap=1, frames=frames).records if r.intrinsics]
    assert len(near) == 2 * 4
    assert all(Path(one.path).parts[-3] == Path(one.before).parts[-3] == Path(one.after).parts[-3] for one in near)
    assert all("video" in Path(one.before).parts for one in near)


def labelled(root: Path) -> SemanticData:
    return read(root, "seq_[01]/frame_*.png", "seq_[01]/semantic_*.png", "table.json")


def test_photos_of_a_still_sequence_have_no_neighbours_and_it_is_said(tmp_path: Path):
    write_labelled_video(tmp_path)
    write_tiny_video(tmp_path / "still", sequences=2, size_hw=(64, 96), still=True)
    for file in (tmp_path / "still" / "seq_1").glob("frame_*.png"):
        shutil.copy(file, tmp_path / "seq_1")
    found = with_neighbours(labelled(tmp_path), tmp_path, gap=1)
    assert len(found.records) == 12, "their labels are learnt from"
    assert {Path(r.path).parent.name for r in found.records if r.intrinsics} == {"seq_0"}
    assert not any(r.before or r.after for r in found.records if Path(r.path).parent.name == "seq_1")
    (said,) = found.findings
    assert said.endswith(
        "nothing moves in 1 of the sequences of frames, which begin with seq_1/frame_000.png: no depth is learnt from their photos"
    )


def test_a_video_in_which_nothing_moves_is_refused(tmp_path: Path):
    write_labelled_video(tmp_path)
    for file in tmp_path.glob("seq_*/frame_00[1-9].png"):
        shutil.copy(file.with_name("frame_000.png"), file)
    with pytest.raises(InputError, match=r"seq_0/frame_000\.png, seq_1/frame_000\.png: nothing moves"):
        with_neighbours(labelled(tmp_path), tmp_path, gap=1)


@pytest.mark.parametrize("gap", [1, 2])
def test_frames_of_another_size_are_named_before_the_run(tmp_path: Path, gap: int):
    write_labelled_video(tmp_path)
    for kind in ("frame", "semantic"):
        file = tmp_path / "seq_1" / f"{kind}_004.png"
        Image.open(file).resize((48, 32)).save(file)
    with pytest.raises(InputError, match=r"seq_1/frame_004\.png: is 48x32, the frames before it are 96x64"):
        with_neighbours(labelled(tmp_path), tmp_path, gap=gap)


def test_photos_of_another_size_than_their_frames_are_named(tmp_path: Path):
    root = city(tmp_path, {"aachen_000000": 2262.5})
    photo = root / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    Image.open(photo).resize((1024, 512)).save(photo)
    data = read(root, "leftImg8bit/train", "gtFine/train", "cityscapes")
    with pytest.raises(InputError, match=r"leftImg8bit\.png: is 1024x512, the frames before it are 2048x1024"):
        with_neighbours(data, root, gap=1, frames="leftImg8bit_sequence/train/*/*_leftImg8bit.png")

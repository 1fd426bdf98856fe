"""Which label map belongs to which photo, in the official layouts and in one's own folders."""

from pathlib import Path

import pytest

from depthbox.core.errors import InputError, UsageError
from depthbox.data.label_files import paired_files


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(root: Path, images: str, labels: str) -> dict[str, str]:
    rows, _ = paired_files(root, images=images, labels=labels, name="data.train")
    return {
        str(Path(photo).relative_to(root)): str(Path(label).relative_to(root)) if label else ""
        for _, photo, label in rows
    }


def test_cityscapes(tmp_path: Path):
    stem = "aachen/aachen_000000_000019"
    kinds = ("color.png", "instanceIds.png", "labelIds.png", "polygons.json")
    touch(tmp_path, f"leftImg8bit/train/{stem}_leftImg8bit.png", *(f"gtFine/train/{stem}_gtFine_{k}" for k in kinds))
    found = {f"leftImg8bit/train/{stem}_leftImg8bit.png": f"gtFine/train/{stem}_gtFine_labelIds.png"}
    assert pairs(tmp_path, "leftImg8bit/train", "gtFine/train") == found
    assert pairs(tmp_path, "leftImg8bit/train/*/*_leftImg8bit.png", "gtFine/train/*/*_gtFine_labelIds.png") == found
    assert pairs(tmp_path, "leftImg8bit/train", "gtFine/train/*/*_gtFine_labelIds.png") == found


def test_gta5_synthia_and_camvid(tmp_path: Path):
    touch(tmp_path, "images/00001.png", "labels/00001.png", "RGB/0000000.png", "GT/LABELS/0000000.png")
    touch(tmp_path, "701/0001TP_006690.png", "LabeledApproved/0001TP_006690_L.png", "train/a.jpg", "trainannot/a.png")
    assert pairs(tmp_path, "images", "labels") == {"images/00001.png": "labels/00001.png"}
    assert pairs(tmp_path, "RGB", "GT/LABELS") == {"RGB/0000000.png": "GT/LABELS/0000000.png"}
    assert pairs(tmp_path, "701", "LabeledApproved") == {"701/0001TP_006690.png": "LabeledApproved/0001TP_006690_L.png"}
    assert pairs(tmp_path, "train", "trainannot") == {"train/a.jpg": "trainannot/a.png"}


def test_frames_and_labels_in_one_folder_a_sequence(tmp_path: Path):
    for number in (2, 10):
        touch(tmp_path, *(f"seq_{s}/{kind}_{number}.png" for s in (0, 1, 2) for kind in ("frame", "depth", "semantic")))
    (tmp_path / "seq_1/semantic_10.png").unlink()
    found = pairs(tmp_path, "seq_[01]/frame_*.png", "seq_[01]/semantic_*.png")
    assert list(found) == [f"seq_{s}/frame_{n}.png" for s in (0, 1) for n in (2, 10)], "in the order of time"
    assert list(found.values()) == ["seq_0/semantic_2.png", "seq_0/semantic_10.png", "seq_1/semantic_2.png", ""]
    assert set(pairs(tmp_path, "seq_[!2]/frame_*.*", "seq_[!2]/semantic_??.png").values()) == {
        "seq_0/semantic_10.png",
        "",
    }


def test_folders_below_and_without_labels(tmp_path: Path):
    touch(tmp_path, "in/a/1.jpg", "in/b/1.jpg", "out/a/1.png", "out/c/1.png")
    rows, lonely = paired_files(tmp_path, images="in/**/*.jpg", labels="out/**/*.png", name="data.train")
    assert [bool(label) for _, _, label in rows] == [True, False] and lonely == 1
    assert pairs(tmp_path, "in", "out") == {"in/a/1.jpg": "out/a/1.png", "in/b/1.jpg": ""}
    assert pairs(tmp_path, "in", "") == {"in/a/1.jpg": "", "in/b/1.jpg": ""}


@pytest.mark.parametrize(
    ("images", "labels", "error", "match"),
    [
        ("", "", UsageError, "data.train.images= is needed"),
        ("in", "in", UsageError, "give two patterns"),
        ("nothing", "in", InputError, "no such folder, and no picture matches"),
        ("in/*.txt", "in", InputError, "no picture matches"),
        ("in", "other", InputError, "photos are like 'a', label maps like 'z'"),
        ("twice", "", InputError, "have the same key 'a'"),
    ],
)
def test_what_does_not_belong_together(tmp_path: Path, images: str, labels: str, error: type[Exception], match: str):
    touch(tmp_path, "in/a.jpg", "in/x.txt", "other/z.png", "twice/a.jpg", "twice/a.png")
    with pytest.raises(error, match=match):
        paired_files(tmp_path, images=images, labels=labels, name="data.train")

"""Names of photos: what a list of labelled ones may say, and what it may not."""

from pathlib import Path

import pytest

from depthbox.core.errors import InputError
from depthbox.stages.selecting import _labelled, names_below

NAMES = ["seq_0/frame_1.png", "seq_0/frame_2.png", "seq_1/frame_1.png"]


def test_names_are_those_below_the_folder_that_all_share():
    assert names_below(["/a/b/seq_0/x.png", "/a/b/seq_1/x.png"]) == ["seq_0/x.png", "seq_1/x.png"]
    assert names_below(["/a/b/x.png", "/a/b/y.png"]) == ["x.png", "y.png"]


def test_a_list_names_photos_with_or_without_ending_and_may_have_remarks(tmp_path: Path):
    (tmp_path / "list.txt").write_text("# both, seed 0\n\nseq_1/frame_1\nframe_2\nseq_0/frame_1.png\n")
    assert _labelled(tmp_path / "list.txt", NAMES) == [0, 1, 2]


def test_a_name_of_two_photos_is_refused(tmp_path: Path):
    (tmp_path / "list.txt").write_text("frame_1\n")
    with pytest.raises(InputError, match="frame_1 is no photo of images=.*names are like seq_0/frame_1.png"):
        _labelled(tmp_path / "list.txt", NAMES)

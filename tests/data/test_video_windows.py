"""A window of a frame is what a longer lens would have taken: the intrinsics move with the pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_video import tiny_sde, write_tiny_video

from depthbox.core.errors import UsageError
from depthbox.data.intrinsics import Intrinsics
from depthbox.data.video_source import VideoSource
from depthbox.data.video_windows import Window, random_window
from depthbox.train.prepare import prepare

CAMERA = Intrinsics(fx=0.8, fy=1.0, u0=0.5, v0=0.45)


def test_a_point_of_the_world_is_seen_in_the_window_where_its_camera_says():
    height, width = 80, 120
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack((columns * 2, rows * 2, 0 * rows), 2).astype(np.uint8)[None]
    window = Window(side=0.5, left=0.25, top=0.375)
    seen = window.cut(ramp, (80, 120))[0].astype(float)
    fx, fy, u0, v0 = window.seen_by(CAMERA)
    for x, y in ((-0.1, 0.1), (0.0, 0.2), (0.15, 0.05)):  # X/Z, Y/Z
        u, v = fx * x + u0, fy * y + v0
        there = seen[int(v * height), int(u * width)]
        whole = (CAMERA.fx * x + CAMERA.u0) * width - 0.5, (CAMERA.fy * y + CAMERA.v0) * height - 0.5
        assert there[0] == pytest.approx(2 * whole[0], abs=2.0)
        assert there[1] == pytest.approx(2 * whole[1], abs=2.0)


def test_the_whole_frame_is_left_as_it_is():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    window = random_window((1.0, 1.0), seed=0, step=5, slot=1)
    assert window.cut(frames, (20, 30)) is frames
    assert window.seen_by(CAMERA) == CAMERA.values


def test_windows_lie_within_the_frame_and_depend_on_their_names_alone():
    drawn = [random_window((1.0, 1.5), seed=3, step=step, slot=slot) for step in range(20) for slot in range(4)]
    assert drawn[5] == random_window((1.0, 1.5), seed=3, step=1, slot=1)
    assert len(set(drawn)) == len(drawn)
    for window in drawn:
        assert 1 / 1.5 <= window.side <= 1
        assert 0 <= window.left <= 1 - window.side and 0 <= window.top <= 1 - window.side


def test_the_frames_of_a_slot_share_a_window_and_have_the_size_of_the_run(tmp_path: Path):
    write_tiny_video(tmp_path / "video")
    settings = {"batch_size": 2, "data.views.jitter": 0.0, "data.views.scale": (1.2, 1.5)}
    source = prepare(tiny_sde(tmp_path / "video", tmp_path / "out", **settings)).source
    assert isinstance(source, VideoSource)
    still = replace(source.data, records=tuple(replace(r, before=r.path, after=r.path) for r in source.data.records))
    frames = replace(source, data=still).pack(source.decode([0, 0], [0, 1])).frames
    assert frames is not None and frames.plain.shape == (2, 3, 3, 32, 32)
    assert (frames.intrinsics[:, 0] > source.data.records[0].intrinsics.fx).all()


@pytest.mark.parametrize("scale", ["0.8,1.2", "1.5,1.2", "1,9"])
def test_a_scale_that_shows_what_is_not_there_is_refused(tmp_path: Path, scale: str):
    write_tiny_video(tmp_path / "video")
    with pytest.raises(UsageError, match=r"data\.views\.scale=.*allowed is 1 <= smallest <= largest <= 4"):
        prepare(tiny_sde(tmp_path / "video", tmp_path / "out", **{"data.views.scale": scale}))

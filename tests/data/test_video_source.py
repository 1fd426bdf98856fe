"""A pack of video: three frames with one flip and one draw of colours, the same on every world size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_video import tiny_sde, write_tiny_video

from depthbox.data.pack import unpack
from depthbox.data.video_source import VideoSource
from depthbox.train.prepare import prepare


@pytest.fixture
def source(tmp_path: Path) -> VideoSource:
    write_tiny_video(tmp_path / "video")
    found = prepare(
        tiny_sde(tmp_path / "video", tmp_path / "out", **{"batch_size": 4, "data.views.jitter": 0.0})
    ).source
    assert isinstance(found, VideoSource)
    return replace(found, size_hw=(48, 64))


def packed(source: VideoSource, step: int = 0, slots: tuple[int, ...] = (0, 1, 2, 3)):
    return source.pack(source.decode([step] * len(slots), list(slots)))


def read(path: str) -> np.ndarray:
    return np.array(Image.open(path)).transpose(2, 0, 1)


def test_a_flip_mirrors_frames_and_camera_together(source: VideoSource):
    data = replace(
        source.data, records=tuple(replace(r, intrinsics=replace(r.intrinsics, u0=0.4)) for r in source.data.records)
    )
    pack = packed(replace(source, data=data))
    assert pack.frames is not None
    flips = []
    for i, index in enumerate(pack.image_ids):
        record = data.records[index]
        whole = np.stack([read(path) for path in (record.path, record.before, record.after)])
        flips.append(flip := bool(np.isclose(pack.frames.intrinsics[i, 2], 0.6)))
        assert np.array_equal(pack.frames.plain[i], whole[..., ::-1] if flip else whole)
    assert set(flips) == {True, False}


def test_colours_change_alike_in_the_frames_of_a_slot_and_only_in_the_strong_view(source: VideoSource):
    still = replace(source.data, records=tuple(replace(r, before=r.path, after=r.path) for r in source.data.records))
    jittered = replace(source, data=still, views=replace(source.views, jitter=0.4))
    frames = unpack(packed(jittered)).frames
    assert frames is not None and frames.strong.shape == frames.plain.shape == (4, 3, 3, 48, 64)
    assert (frames.strong[:, 0] == frames.strong[:, 1]).all() and (frames.strong != frames.plain).any()
    plain = unpack(packed(source)).frames
    assert plain is not None and plain.strong is plain.plain


def test_a_rank_s_share_is_what_the_whole_batch_has(source: VideoSource):
    jittered = replace(source, views=replace(source.views, jitter=0.4))
    whole, part = packed(jittered, 3), packed(jittered, 3, (2, 3))
    assert whole.frames is not None and part.frames is not None
    for name in ("plain", "strong", "intrinsics"):
        assert np.array_equal(getattr(whole.frames, name)[2:], getattr(part.frames, name))


def test_frames_are_brought_to_one_size(source: VideoSource):
    pack = packed(replace(source, size_hw=(32, 96)))
    assert pack.frames is not None and pack.frames.plain.shape == (4, 3, 3, 32, 96)


def test_damaged_frames_in_a_row_have_a_stand_in(tmp_path: Path):
    write_tiny_video(tmp_path / "video", frames=12)
    source = prepare(tiny_sde(tmp_path / "video", tmp_path / "out", batch_size=10)).source
    for number in (5, 6):  # and four frames in a row are spoilt: as many as are tried
        (tmp_path / "video" / "seq_0" / f"frame_{number:03d}.png").write_bytes(b"")
    found = source.decode([0] * 10, list(range(10)))
    assert found["ok"].all() and not set(found["index"]) & {3, 4, 5, 6}

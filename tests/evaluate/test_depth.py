"""Scores of depth from video: exact depth is exact up to scale, a constant is called one, zeros are understood."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_video import write_tiny_video
from torch import nn

from depthbox.data.video import VideoData, read_video
from depthbox.evaluate.depth import evaluate_video, meaning_of_zero
from depthbox.supervision.config import SdeConfig

CONFIG = SdeConfig(nearest=1.0, farthest=10.0)


@pytest.fixture
def video(tmp_path: Path) -> VideoData:
    return read_video(write_tiny_video(tmp_path / "video", sequences=1), ["seq_0"])


class Exact(nn.Module):
    """The two walls, in another unit."""

    def __init__(self, *, constant: bool = False) -> None:
        super().__init__()
        self.one, self.constant = nn.Parameter(torch.ones(1)), constant

    def sigmoids(self, images: torch.Tensor) -> list[torch.Tensor]:
        inverse = torch.full((len(images), 1, images.shape[-2], images.shape[-1]), 0.5 / 3)
        inverse[..., images.shape[-2] // 2 :, :] *= 1 if self.constant else 3
        return [(inverse - 0.1) / 0.9]


def scores(video: VideoData, network: nn.Module):
    return evaluate_video(network, video, config=CONFIG, short_side=192, kind="depth_mm", zero="far")  # type: ignore[arg-type]


def test_exact_up_to_scale(video: VideoData):
    found = scores(video, Exact())
    assert found.values["abs_rel"] < 0.01 and found.values["spearman"] > 0.97 and found.values["a1"] > 0.99
    assert found.values["prior_spearman"] < found.values["spearman"] and found.values["prior_abs_rel"] > 0.1
    assert "scaled so that its median" in found.note and "collapsed" not in found.note


def test_a_constant_is_called_one(video: VideoData):
    found = scores(video, Exact(constant=True))
    assert "collapsed to a constant" in found.note and found.values["disparity_spread"] < 1e-6
    assert np.isnan(found.values["spearman"])


def test_without_depth_nothing_is_scored(video: VideoData):
    bare = replace(video, records=tuple(replace(record, depth="") for record in video.records))
    assert scores(bare, Exact()).values == {} and "no measured depth" in scores(bare, Exact()).note


def test_holes_below_something_measured_are_missing_and_sky_is_far(video: VideoData):
    assert meaning_of_zero(video.records, kind="depth_mm", zero="auto") == "far"
    assert meaning_of_zero(video.records, kind="depth_mm", zero="missing") == "missing"
    for record in video.records:
        depth = np.array(Image.open(record.depth))
        depth[30:40, 10:30] = 0
        Image.fromarray(depth).save(record.depth)
    assert meaning_of_zero(video.records, kind="depth_mm", zero="auto") == "missing"


def test_a_frame_that_cannot_be_scored_is_left_out_and_said(video: VideoData):
    damaged, empty, wide = (Path(record.depth) for record in video.records[:3])
    damaged.write_bytes(b"")
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(empty)
    Image.fromarray(np.full((48, 80), 2000, np.uint16)).save(wide)
    assert meaning_of_zero(video.records, kind="depth_mm", zero="auto") == "far"
    found = scores(video, Exact())
    assert found.values["a1"] > 0.99 and f"3 of 4 frames were not scored, such as {damaged}" in found.note
    nothing = scores(replace(video, records=video.records[1:2]), Exact())
    assert nothing.values == {} and "check data.depth_kind and data.depth_zero" in nothing.note

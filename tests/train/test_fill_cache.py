"""The cache filled before a run: each photo once, what cannot be read is named, what has no network is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_dense import tiny_dense, write_tiny_dense

from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import DepthConfig, RayConfig, SemanticDataConfig
from depthbox.train.fill_cache import Filled, fill_cache


def filled(data: SemanticDataConfig, out: Path, **depth: str) -> Filled:
    config = DepthConfig(**{"cache": str(out / "cache")} | depth)  # type: ignore[arg-type]
    return fill_cache(data, config, launcher="local", ray=RayConfig(), out=out, say=print)


def test_target_and_source_once_and_a_broken_photo_by_name(tmp_path: Path):
    root = write_tiny_dense(tmp_path / "data")
    named = {"data.source.images": "other/photos", "data.source.labels": "other/labels"}
    data = tiny_dense(root, tmp_path / "out", **named).data
    assert isinstance(data, SemanticDataConfig)
    broken = root / "train/photos/p_02.png"
    broken.write_bytes(b"")
    first = filled(data, tmp_path)
    assert (first.images, first.inferences) == (10, 9) and len(first.unreadable) == 1
    assert first.unreadable[0].startswith(str(broken))
    again = filled(data, tmp_path)
    assert (first.hits, again.inferences, again.hits) == (0, 0, 9)
    with pytest.raises(UsageError, match="depth.source=none: there is nothing to infer"):
        filled(data, tmp_path, source="none")
    with pytest.raises(InputError, match="no such folder"):
        filled(replace(data, train=replace(data.train, images="nowhere")), tmp_path)

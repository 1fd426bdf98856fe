"""The stages in the process that trains: they leave its threads alone."""

from dataclasses import replace
from pathlib import Path

import torch
from photo_packs import assert_same, source_of, write_photos

from depthbox.data.local import local_batches
from depthbox.data.shape import DepthSetup


def test_depth_is_inferred_on_one_thread_and_the_process_keeps_its_own(tmp_path: Path):
    source = source_of(write_photos(tmp_path))
    setups = [
        DepthSetup(
            spec="builtin", cache_folder=str(tmp_path / name), device="cpu", maps_kind="depth_mm", maps_zero="far"
        )
        for name in ("one", "two")
    ]
    before, packs = torch.get_num_threads(), []
    try:
        for threads, setup in zip((1, 2), setups, strict=True):
            torch.set_num_threads(threads)
            packs += local_batches(source, setup, range(1), processes=0)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_same(packs[0], replace(packs[1], outcome=packs[0].outcome))

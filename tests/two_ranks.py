"""What each of two processes of one gloo group finds."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

__all__ = ["found_by_rank", "found_by_two"]


def found_by_rank(find: Callable[[int], object], number: int, folder: Path) -> None:
    """Rank `number` of two: joins the group through `folder` and leaves there what it finds."""
    torch.set_num_threads(1)
    place = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=place, rank=number, world_size=2, timeout=timedelta(seconds=200))
    try:
        torch.save(find(number), folder / f"{number}.pt")
    finally:
        dist.destroy_process_group()


def found_by_two(script: str, find: Callable[[int], object], folder: Path) -> list:
    """Rank 0 is `script FOLDER`, which calls `found_by_rank` with 0; rank 1 is this process."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen([sys.executable, script, str(folder)], env=os.environ | paths)
    found_by_rank(find, 1, folder)
    assert first.wait(200) == 0
    return [torch.load(folder / f"{number}.pt") for number in range(2)]

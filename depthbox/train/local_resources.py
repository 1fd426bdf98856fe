"""What a run could use: the cluster's resources where one is named, else this machine's."""

import glob
import os
import sys
from collections.abc import Mapping

__all__ = ["this_machine"]


def this_machine(address: str = "") -> Mapping[str, float]:
    """Ray's names for resources; asks the cluster at `address`, else counts this machine's cores and GPUs."""
    if address:
        from depthbox.train.ray_launch import cluster_of

        return cluster_of(address)
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(_gpus())}


def _gpus() -> int:
    """Where Linux shows no GPU, torch (seconds to import) is not asked for one: what cannot fit is refused at once."""
    if sys.platform == "linux" and not glob.glob("/dev/nvidia[0-9]*") and not os.path.exists("/dev/dxg"):
        return 0
    import torch

    return torch.cuda.device_count()

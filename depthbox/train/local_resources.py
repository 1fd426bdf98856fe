"""What a run could use: the cluster's resources where one is named, else this machine's."""

import os
from collections.abc import Mapping

__all__ = ["this_machine"]


def this_machine(address: str = "") -> Mapping[str, float]:
    """Ray's names for resources; asks the cluster at `address`, else counts this machine's cores and GPUs."""
    if address:
        from depthbox.train.ray_launch import cluster_of

        return cluster_of(address)
    import torch

    return {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}

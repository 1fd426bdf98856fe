"""Sums over the workers of a run; the identity where there is one worker."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["agreed", "gather_objects", "global_mean", "mean_over_ranks", "rank", "sum_over_ranks", "world_size"]


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    return dist.get_world_size() if _active() else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a detached tensor over all ranks; every rank gets it."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a detached tensor over all ranks."""
    return sum_over_ranks(value) / world_size()


def global_mean(total: Tensor, count: Tensor | float) -> Tensor:
    """`total / count` over the global batch: after DDP has averaged the gradients, the mean over all ranks' valid elements.

    Both are this rank's sums; the count is summed over ranks and clamped at 1, so a batch with nothing to supervise gives 0 with a graph.
    """
    counts = torch.as_tensor(count, dtype=torch.float32, device=total.device)
    return total * world_size() / sum_over_ranks(counts).clamp(min=1)


def agreed(flag: bool) -> bool:
    """Rank 0's flag, on every rank."""
    if world_size() == 1:
        return flag
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    value = torch.tensor([float(flag)], device=device)
    dist.broadcast(value, 0)
    return bool(value.item())


def gather_objects(value: object) -> list:
    """Every rank's (picklable) value, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    gathered: list = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered

"""Sums over workers: two real processes say what one process says."""

import os
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from depthbox.core.dist import agreed, gather_objects, global_mean, mean_over_ranks, rank, sum_over_ranks, world_size

PARTS = ((1.0, 2.0, 6.0), (10.0,))
"""What each worker has: the mean over both is 19 / 4, the mean of their means is not."""


def loss_of(values: tuple[float, ...], weight: torch.Tensor) -> torch.Tensor:
    elements = weight * torch.tensor(values)
    return global_mean(elements.sum(), len(values))


def worker(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=number, world_size=2, timeout=timedelta(seconds=60)
    )
    try:
        Path(folder, f"{number}.pickle").write_bytes(pickle.dumps(what_a_worker_says(number)))
    finally:
        dist.destroy_process_group()


def what_a_worker_says(number: int) -> dict[str, object]:
    weight = torch.ones((), requires_grad=True)
    loss = loss_of(PARTS[number], weight)
    loss.backward()
    empty = torch.ones((), requires_grad=True)
    half_empty = loss_of(() if number else (3.0,), empty)
    half_empty.backward()
    return {
        "place": (rank(), world_size()),
        "loss": mean_over_ranks(loss).item(),
        "gradient": mean_over_ranks(weight.grad).item(),
        "half_empty": (mean_over_ranks(half_empty).item(), mean_over_ranks(empty.grad).item()),
        "all_empty": loss_of((), empty).item(),
        "sum": sum_over_ranks(torch.tensor([1.0, number])).tolist(),
        "gathered": gather_objects({"rank": number}),
        "agreed": (agreed(number == 0), agreed(number == 1)),
    }


def test_two_processes_equal_one(tmp_path):
    """This process is the second worker."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen([sys.executable, __file__, str(tmp_path)], env=os.environ | paths)
    worker(1, str(tmp_path))
    assert first.wait(60) == 0
    said = [pickle.loads((tmp_path / f"{number}.pickle").read_bytes()) for number in range(2)]
    weight = torch.ones((), requires_grad=True)
    alone = loss_of(PARTS[0] + PARTS[1], weight)
    alone.backward()
    assert [s.pop("place") for s in said] == [(0, 2), (1, 2)]
    assert said[0] == said[1]
    assert said[0]["loss"] == pytest.approx(alone.item()) == 4.75
    assert said[0]["gradient"] == pytest.approx(weight.grad.item())
    assert said[0]["half_empty"] == (3.0, 3.0) and said[0]["all_empty"] == 0
    assert said[0]["sum"] == [2.0, 1.0] and said[0]["gathered"] == [{"rank": 0}, {"rank": 1}]
    assert said[0]["agreed"] == (True, False), "what rank 0 says"
    assert (rank(), world_size()) == (0, 1)


def test_one_worker_needs_no_process_group():
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    assert (rank(), world_size(), gather_objects("x")) == (0, 1, ["x"])
    assert torch.equal(sum_over_ranks(value), value) and not sum_over_ranks(value).requires_grad
    assert torch.equal(mean_over_ranks(value), value) and agreed(True) and not agreed(False)


def test_a_mean_over_nothing_is_0_with_a_graph():
    weight = torch.ones((), requires_grad=True)
    loss = loss_of((), weight)
    loss.backward()
    assert loss == 0 and weight.grad == 0


if __name__ == "__main__":
    worker(0, sys.argv[1])

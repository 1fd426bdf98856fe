"""One local Ray cluster a module."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="the Ray path needs ray")
    from depthbox.train.ray_launch import start_ray

    start_ray("")
    # As many threads as a Ray worker takes: sums in another order are other bits.
    threads = torch.get_num_threads()
    torch.set_num_threads(round(ray.cluster_resources()["CPU"]))
    yield
    torch.set_num_threads(threads)
    ray.shutdown()

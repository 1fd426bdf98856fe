"""What every test shares."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "90")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The same examples every time: what passed once is not lost to a draw elsewhere. `--hypothesis-profile=default` draws anew.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; a test that needs it skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference data beside the repository is absent")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's disparity cache."""
    monkeypatch.setenv("DEPTHBOX_CACHE", str(tmp_path_factory.getbasetemp() / "disparity-cache"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For modules that train here: two cores are shared, and sums in one order are the same bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

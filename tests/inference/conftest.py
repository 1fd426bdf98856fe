"""One small finished run for everything that uses a model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_data import tiny_experiment, write_tiny_data
from tiny_dense import tiny_dense, write_tiny_dense

from depthbox.core.config import vary
from depthbox.train.launch import run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="session")
def trained(data: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of sixty steps from masks; `run.json` holds its id in `store`."""
    out = tmp_path_factory.mktemp("runs") / "masks"
    settings = {"schedule.steps": 60, "schedule.learning_rate": 0.005, "schedule.checkpoint_every": 60, "batch_size": 4}
    experiment = tiny_experiment(data, out, "full", **{"data.processes": 0, **settings})
    run(vary(experiment, {"tracking.uri": store}))
    return out


@pytest.fixture(scope="session")
def queries(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the query head."""
    out = tmp_path_factory.mktemp("runs") / "queries"
    settings = {
        "schedule.steps": 120,
        "schedule.learning_rate": 0.003,
        "schedule.checkpoint_every": 120,
        "batch_size": 4,
    }
    settings |= {"model.head": "query", "model.channels": 32, "model.query.start": "picked", "model.query.queries": 10}
    settings |= {"model.query.layers": 2, "model.query.width": 32, "method.query.points.number": 256}
    run(tiny_experiment(data, out, "full", **{"data.processes": 0, **settings}))
    return out


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with a class for every pixel."""
    return write_tiny_dense(tmp_path_factory.mktemp("streets"))


@pytest.fixture(scope="session")
def pixels(streets: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a network that tells the classes of these pixels apart."""
    out = tmp_path_factory.mktemp("runs") / "pixels"
    settings = {"method.mixing": "class", "schedule.steps": 30, "schedule.learning_rate": 0.003}
    run(tiny_dense(streets, out, **{**settings, "schedule.evaluate_every": 0, "tracking.uri": store}))
    return out


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

"""One store a module."""

from pathlib import Path

import pytest

from depthbox.tracking import prepare_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that the tests of this file share."""
    out = tmp_path_factory.mktemp("a store")
    prepare_store(None, out=out)
    return out

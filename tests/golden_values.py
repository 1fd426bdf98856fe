"""Outputs of the published implementations, where they lie beside the repository."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

__all__ = ["golden_values"]

# Tests share two cores with others.
torch.set_num_threads(1)


def golden_values(shared: Path, name: str, *, folder: str = "box_depth") -> Mapping[str, Tensor]:
    """The arrays of `golden/FOLDER/NAME.npz` as tensors; skips the test where they are absent."""
    path = shared / "golden" / folder / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is absent")
    with np.load(path) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

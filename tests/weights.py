"""The models of two runs, held against each other."""

from pathlib import Path

import torch
from safetensors.torch import load_file

__all__ = ["same_weights"]


def same_weights(a: Path, b: Path) -> bool:
    """Whether the runs in these folders ended with the same bits."""
    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)

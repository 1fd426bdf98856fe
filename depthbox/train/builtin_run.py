"""What one training of the built-in depth network is made of; light, so that a command may read its words without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["BuiltinRun"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinRun:
    """`steps` of `batch` crops from `scenes` of `size_hw` pixels, which so many `processes` render, on `device`; on a CPU the same numbers give the same file.

    `weights` start the encoder: none, hub (ImageNet's) or a safetensors FILE of timm's network. Who passes the file on passes those weights on.
    """

    scenes: int = 1500
    steps: int = 4500
    seed: int = 0
    batch: int = 8
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    processes: int = 1
    size_hw: tuple[int, int] = (192, 256)
    weights: str = "none"

    def command(self) -> str:
        """The words that write the same file again; where a number is the usual one, it may be left out."""
        words = (
            f"python -m depthbox.train.builtin_depth out=FILE scenes={self.scenes} steps={self.steps} seed={self.seed}"
        )
        usual = BuiltinRun()
        words += f" batch={self.batch}" * (self.batch != usual.batch)
        words += f" size_hw={self.size_hw[0]},{self.size_hw[1]}" * (self.size_hw != usual.size_hw)
        return words + f" weights={Path(self.weights).name}" * (self.weights != usual.weights)

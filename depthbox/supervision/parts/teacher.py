"""The student's slow copy (mean teacher): it makes the pseudo masks, and it is what is evaluated."""

import copy

import torch
from torch import nn

__all__ = ["Teacher"]


class Teacher(nn.Module):
    """A copy of the student from step `start`, then its moving average over parameters *and* buffers.

    teacher <- k teacher + (1 - k) student after every step, k = min(`keep`, 1 - 1 / (t - start + 1)) after t steps: a published 0.9996 would leave the
    teacher of a short run a copy of its first day. With `start` 0 the copy is of the first step: a student that has learnt nothing is not averaged in. The published
    code of some methods averages parameters only.
    """

    def __init__(self, student: nn.Module, *, start: int, keep: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False).eval()
        self.start, self.keep = start, keep

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher never trains."""
        return super().train(False)

    def active(self, step: int) -> bool:
        """Whether the losses of `step` may ask this teacher."""
        return step >= self.start

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Take in the student as `step` left it."""
        age = step + 1 - max(self.start, 1)
        if age < 0:
            return
        keep = min(self.keep, 1 - 1 / (age + 1)) if age else 0.0
        theirs = student.state_dict()
        for name, mine in self.model.state_dict().items():
            if keep and mine.is_floating_point():
                mine.lerp_(theirs[name].to(mine.dtype), 1 - keep)
            else:
                mine.copy_(theirs[name])

"""step -> float, composable. Times are absolute steps here; a recipe computes them as fractions of its run (METHODS, "Time")."""

import math
from collections.abc import Callable, Sequence

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "falling",
    "poly",
    "ramp",
    "scaled",
    "warm_up_cosine",
    "warm_up_poly",
    "warm_up_steps",
]

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda step: value


def ramp(start: float, length: float) -> Schedule:
    """clip((step - start) / length, 0, 1); a length of 0 is a jump at `start`.

    >>> half = ramp(10, 10); [half(s) for s in (5, 15, 25)]
    [0.0, 0.5, 1.0]
    """
    return lambda step: float(step >= start) if length <= 0 else min(max((step - start) / length, 0.0), 1.0)


def falling(length: float) -> Schedule:
    """Linearly from 1 at step 0 to 0 at `length`."""
    return lambda step: max(0.0, 1 - step / max(length, 1))


def cosine(length: int, *, last: float = 0.0) -> Schedule:
    """From 1 down to `last` along half a cosine."""
    return lambda step: last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(max(step / max(length, 1), 0.0), 1.0)))


def poly(length: int) -> Schedule:
    """max(1e-6, (1 - step / length)^0.9), as published for segmentation.

    >>> [round(poly(10)(s), 3) for s in (0, 5, 10, 11)]
    [1.0, 0.536, 0.0, 0.0]
    """
    return lambda step: max(1e-6, max(0.0, 1 - step / max(length, 1)) ** 0.9)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """`factor * schedule`."""
    return lambda step: factor * schedule(step)


def warm_up_cosine(steps: int, *, warm_up: int) -> Schedule:
    """Learning-rate factor: linear from about 0 to 1 over `warm_up` steps, then a cosine to 0.01."""
    falling = cosine(steps - warm_up, last=0.01)
    return lambda step: (step + 1) / warm_up if step < warm_up else falling(step - warm_up)


def warm_up_steps(steps: int, *, warm_up: int, drops: Sequence[float]) -> Schedule:
    """Learning-rate factor: linear from about 0 to 1 over `warm_up` steps, then 1, and a tenth of it from each fraction of the run in `drops` on.

    >>> rate = warm_up_steps(9, warm_up=1, drops=(2 / 3, 8 / 9)); [round(rate(s), 3) for s in (0, 5, 6, 7, 8)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    at = [round(drop * steps) for drop in drops]
    return lambda step: min((step + 1) / warm_up, 1.0) * 0.1 ** sum(step >= drop for drop in at)


def warm_up_poly(steps: int, *, warm_up: int) -> Schedule:
    """Learning-rate factor: `poly` over the whole run, times a rise from about 0 to 1 over `warm_up` steps."""
    down = poly(steps)
    return lambda step: min((step + 1) / warm_up, 1.0) * down(step)

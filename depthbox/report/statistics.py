"""What a few seeds say: spread, bootstrap interval, paired difference to a base row, Holm's correction. Pure functions."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Difference", "Estimate", "difference", "estimate", "holm"]

LEVEL = 0.95
FEWEST_FOR_INTERVAL = 3
RESAMPLES, SEED = 9999, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """`n` values: their mean, standard deviation (n - 1; None for one value) and BCa interval of the mean (None below three values)."""

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of the `n` differences by seed, its 95 % interval and two-sided p; None where the seeds cannot say."""

    n: int
    mean: float
    interval: tuple[float, float] | None
    p: float | None


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values. Raises ValueError for one that is not finite.

    The interval is the bias-corrected and accelerated bootstrap of the mean (Efron 1987), 9999 resamples, seeded. A bootstrap cannot
    leave the range of what it has seen: of three values it covers less than its 95 %, of one or two it says nothing and is left out.
    Equal values have the interval of that one value.
    """
    if not values:
        return None
    _check(values)
    n, mean = len(values), math.fsum(values) / len(values)
    return Estimate(n=n, mean=mean, sd=_sd(values) if n > 1 else None, interval=_bca(values))


def difference(row: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """`row` minus `base` over the seeds that both have; None where they share none.

    p and interval are the paired t test's. An exact sign-flip test would assume less, but its p cannot go below 2 / 2^n: 0.25 with three
    seeds, so it could never find anything in a table like ours. The price is an assumption that three numbers cannot check: differences
    between seeds are about normal. Both need two seeds, and differences that are not all the same; where all are zero, p is 1.
    """
    seeds = sorted(row.keys() & base.keys())
    if not seeds:
        return None
    values = [row[seed] - base[seed] for seed in seeds]
    _check(values)
    n, mean = len(values), math.fsum(values) / len(values)
    if n > 1 and not any(values):
        return Difference(n=n, mean=0.0, interval=(0.0, 0.0), p=1.0)
    sd = _sd(values) if n > 1 else 0.0
    if n == 1 or sd <= 1e-12 * max(map(abs, values)):  # rounding of equal differences is no spread
        return Difference(n=n, mean=mean, interval=None, p=None)
    from scipy import stats

    error = sd / math.sqrt(n)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Difference(n=n, mean=mean, interval=(mean - reach, mean + reach), p=p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p corrected for the whole family (Holm 1979): the k-th smallest of m times m - k + 1, never falling, at most 1. None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[place] = largest
    return corrected


def _bca(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < FEWEST_FOR_INTERVAL:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    import numpy as np
    from scipy import stats

    def interval(method: str) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (np.asarray(values),), np.mean, confidence_level=LEVEL, n_resamples=RESAMPLES, method=method, rng=SEED
            ).confidence_interval
        return float(found.low), float(found.high)

    low, high = interval("BCa")
    # All but equal values can leave BCa without an answer; the plain percentiles always have one.
    return (low, high) if math.isfinite(low) and math.isfinite(high) else interval("percentile")


def _sd(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _check(values: Sequence[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise ValueError(f"statistics: not finite: {list(values)}; leave out what was not scored")

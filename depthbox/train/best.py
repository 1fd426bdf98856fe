"""The best of a run's evaluations, named beside its last: whoever compares methods of few labels, which overfit late, wants both."""

import math
from collections.abc import Mapping

__all__ = ["best_of"]

DECIDING = ("mask_ap", "miou", "box_ap", "spearman")
"""The first of these that an evaluation has says how good it is."""


def best_of(evaluations: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """`best_NAME` for every score but those of single classes, of the step with the best of all, and `best_step`; of equals the earlier.

    `evaluations` by step. Empty where none has a number.

    >>> best_of({200: {"mask_ap": 0.3, "mask_ap/cup": 0.1}, 400: {"mask_ap": 0.4, "box_ap": 0.2}, 600: {"mask_ap": 0.4, "box_ap": 0.5}})
    {'best_mask_ap': 0.4, 'best_box_ap': 0.2, 'best_step': 400.0}
    """
    for name in DECIDING:
        known = {
            step: scores[name] for step, scores in evaluations.items() if math.isfinite(scores.get(name, math.nan))
        }
        if known:
            step = max(sorted(known), key=known.__getitem__)
            scores = {f"best_{key}": value for key, value in evaluations[step].items() if "/" not in key}
            return scores | {"best_step": float(step)}
    return {}

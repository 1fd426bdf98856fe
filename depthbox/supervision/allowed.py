"""Which numbers the settings of boxes and depth may have: one that makes no sense is refused by its name before a run, not found in a curve after it."""

import math
from collections.abc import Callable, Iterable

from depthbox.core.config import flatten
from depthbox.core.errors import UsageError
from depthbox.supervision.config import (
    BoxDepthConfig,
    BoxDepthWeights,
    DetectorWeights,
    PairwiseConfig,
    PlDcConfig,
    PlDcWeights,
    QueryTermsConfig,
)

__all__ = ["check_box_depth_numbers", "check_pairwise_numbers", "check_pl_dc_numbers", "check_query_numbers"]

Rule = tuple[Callable[[float], bool], str]

POSITIVE: Rule = (lambda v: 0 < v < math.inf, "a number above 0")
NOT_NEGATIVE: Rule = (lambda v: 0 <= v < math.inf, "a number of at least 0")
SHARE: Rule = (lambda v: 0 < v <= 1, "above 0, at most 1")
KEPT: Rule = (lambda v: 0 <= v < 1, "from 0 to below 1")
COST: Rule = (lambda v: 0 <= v <= 1, "from 0 to 1")

PAIRWISE: dict[str, Rule] = {
    "prior_size": POSITIVE,
    "color_threshold": SHARE,
    "depth_threshold": SHARE,
    "depth_theta": POSITIVE,
    "color_veto": NOT_NEGATIVE,
    "depth_veto": NOT_NEGATIVE,
    "warm_up": NOT_NEGATIVE,
}
BOX_DEPTH: dict[str, Rule] = PAIRWISE | {
    "masks_per_image": (lambda v: v >= 1, "a whole number of at least 1"),
    "relief_share": KEPT,
    "distillation.start": (NOT_NEGATIVE[0], "a fraction of the run, at least 0 (1: never)"),
    "distillation.keep": KEPT,
    "distillation.box_cost": COST,
    "distillation.depth_cost": COST,
    "distillation.threshold": (lambda v: -1 <= v < 1, "from -1 to below 1, the range of the score"),
}


PL_DC: dict[str, Rule] = {
    "burn_in": COST,
    "keep": KEPT,
    "class_threshold": COST,
    "mask_threshold": COST,
    "min_pixels": NOT_NEGATIVE,
    "pseudo_nms_iou": (SHARE[0], "an IoU, above 0 and at most 1 (off)"),
    "adapt_keep": COST,
    "category_weight": COST,
    "pseudo_no_object": (NOT_NEGATIVE[0], "a weight, at least 0"),
    "depth_threshold": COST,
    "depth_theta": POSITIVE,
}
QUERY: dict[str, Rule] = {
    "cost_class": NOT_NEGATIVE,
    "cost_bce": NOT_NEGATIVE,
    "cost_dice": NOT_NEGATIVE,
    "cost_outside": NOT_NEGATIVE,
    "no_object": NOT_NEGATIVE,
    "points.number": (lambda v: v >= 1, "a whole number of at least 1"),
    "points.oversample": (lambda v: 1 <= v < math.inf, "a number of at least 1"),
    "points.uncertain": COST,
}


def check_pl_dc_numbers(config: PlDcConfig) -> None:
    """The same of `pl_dc`, its points and its weights."""
    _check(config, (*PL_DC.items(), *_not_negative(config.weights)), "method.")
    check_query_numbers(config.query)
    detector = config.detector
    rules = {
        "masks_per_image": BOX_DEPTH["masks_per_image"],
        "pseudo_background": PL_DC["pseudo_no_object"],
        "class_from": COST,
    }
    _check(detector, (*rules.items(), *_not_negative(detector.weights)), "method.detector.")
    for name in ("lowest", "floors"):
        if not all(0 <= v < 1 for v in getattr(config, name)):
            raise UsageError(f"method.{name}={getattr(config, name)}: allowed are two numbers from 0 to below 1")
    if not config.clip.descriptions or not all("{}" in one for one in config.clip.descriptions):
        raise UsageError(
            f"method.clip.descriptions={','.join(config.clip.descriptions)}: allowed are texts with {{}} for the name of a class"
        )


def check_query_numbers(config: QueryTermsConfig) -> None:
    """The same of the losses of the query head."""
    _check(config, QUERY.items(), "method.query.")


def check_pairwise_numbers(config: PairwiseConfig, prefix: str) -> None:
    """Raises `UsageError` naming the setting below `prefix`, its value and what is allowed."""
    _check(config, PAIRWISE.items(), prefix)


def check_box_depth_numbers(config: BoxDepthConfig) -> None:
    """The same of `box_depth`, its teacher and its weights."""
    _check(config, (*BOX_DEPTH.items(), *_not_negative(config.weights)), "method.")
    box, depth = config.distillation.box_cost, config.distillation.depth_cost
    # Published: 0.1 and 0.9, whose sum may be a bit above 1.
    if box + depth > 1 + 1e-9:
        raise UsageError(
            f"method.distillation.box_cost={box} and depth_cost={depth}: together at most 1; the detection score has the rest"
        )


def _not_negative(weights: BoxDepthWeights | PlDcWeights | DetectorWeights) -> list[tuple[str, Rule]]:
    return [(f"weights.{name}", NOT_NEGATIVE) for name in flatten(weights)]


def _check(config: object, rules: Iterable[tuple[str, Rule]], prefix: str) -> None:
    values = flatten(config)
    for name, (allowed, words) in rules:
        value = values[name]
        assert isinstance(value, (int, float))
        if not allowed(value):
            raise UsageError(f"{prefix}{name}={value}: allowed is {words}")

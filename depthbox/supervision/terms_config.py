"""The numbers of losses that several methods share: of neighbouring pixels, and of queries."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BoxTermsConfig", "PairwiseConfig", "PointsConfig", "QueryTermsConfig", "QueryWeights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseConfig:
    """What boxes, colour and disparity say about a mask, whichever head made it. The colour ramp 0..W and the depth ramp W..2W, W = `warm_up`, are
    fractions of the run; thresholds as published.

    Ours, 0 for off: `color_veto` is the Lab distance above which a depth edge is not believed, `depth_veto` the step of disparity (0..255)
    above which a colour edge is not. `prior_size` scales the axes of the
    ellipse of `box_prior`. `dilation` is the distance of neighbours in cells of stride 4: 2 as published, at a short side of 800.
    """

    prior_size: float = 0.7
    dilation: Literal[1, 2, 3] = 2
    color_threshold: float = 0.3
    depth_threshold: float = 0.5
    depth_theta: float = 2.0
    depth_form: Literal["difference", "plane"] = "difference"
    depth_inside_only: bool = False
    color_veto: float = 0.0
    depth_veto: float = 0.0
    warm_up: float = 1 / 9


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxTermsConfig(PairwiseConfig):
    """What boxes say about queries: a query is matched to a box by `cost_class` times its class and `cost_projection` times the dice of its mask's
    projections (Box2Mask); the terms of the matched masks are those of `box_depth`."""

    cost_class: float = 2.0
    cost_projection: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsConfig:
    """How many points a mask is compared at (12 544 published, at a short side of 800), and of the loss's, how many candidates are drawn for each and
    which share is the most uncertain of them; the rest is uniform."""

    number: int = 1024
    oversample: float = 3.0
    uncertain: float = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryWeights:
    """As published for Mask2Former; `query_start` is ours, of `model.query.start=picked` alone."""

    query_class: float = 2.0
    query_bce: float = 5.0
    query_dice: float = 5.0
    query_start: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTermsConfig:
    """The losses of `model.head=query`: the costs of the matching, what "no object" weighs beside a class, and the points.

    `cost_outside` (ours, of `model.query.start=picked` alone) is the cost of an object that does not hold the location a query was picked at.
    """

    cost_class: float = 2.0
    cost_bce: float = 5.0
    cost_dice: float = 5.0
    cost_outside: float = 10.0
    no_object: float = 0.1
    points: PointsConfig = PointsConfig()

"""Matching geometry sampling: for a target, of five random images of another set, the one whose disparity is most like it (METHODS 3.5).

Disparities are compared as outlines: the whole photo's disparity at OUTLINE_HW, min-max normalised per image like every disparity here, of both sets
alike (the reference normalises them differently). Outlines are made once, before the first step, so that drawing a pair costs the stream nothing.
"""

from dataclasses import dataclass

import numpy as np

from depthbox.core.domains import domain_pairs
from depthbox.core.rng import generator
from depthbox.data.mixture import MixedPlan
from depthbox.data.plan import Plan
from depthbox.data.semantic_source import SemanticSource
from depthbox.data.source import Packed, Rows
from depthbox.depth.quality import resized_map

__all__ = ["CANDIDATES", "OUTLINE_HW", "GeometryPlan", "OutlineSource", "geometry_distance", "matching"]

OUTLINE_HW = (32, 64)
CANDIDATES = 5

_TOP, _BOTTOM = 80 / 512, 100 / 512
"""Rows that say little about a scene: sky, and the bonnet of the car."""


def geometry_distance(target: np.ndarray, others: np.ndarray) -> np.ndarray:
    """mean |log(1 + d_t) - log(1 + d_s)| of a disparity "h w" to each of "N h w", the top 80/512 and bottom 100/512 of the rows zero; unknown pixels
    are left out, and a pair without a common known pixel is infinitely apart.

    >>> geometry_distance(np.zeros((512, 4)), np.stack([np.ones((512, 4)), np.zeros((512, 4))])).round(4).tolist()
    [0.4495, 0.0]
    """
    difference = np.abs(np.log1p(others.astype(np.float32)) - np.log1p(target.astype(np.float32)))
    rows = target.shape[0]
    difference[:, : round(_TOP * rows)] = 0
    difference[:, rows - round(_BOTTOM * rows) :] = 0
    known = np.isfinite(target) & np.isfinite(others)
    total = np.where(known, difference, 0).sum((1, 2))
    return np.where(known.any((1, 2)), total / np.maximum(known.sum((1, 2)), 1), np.inf)


def matching(
    target: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
    *,
    members: np.ndarray | None = None,
    candidates: int = CANDIDATES,
) -> int:
    """The place in `others` "N h w" of the one most like `target` "h w", of `candidates` drawn without repetition among all, or among the places
    `members`; ties go to the first drawn."""
    places = np.arange(len(others)) if members is None else members
    drawn = places[rng.choice(len(places), min(candidates, len(places)), replace=False)]
    return int(drawn[geometry_distance(target, others[drawn]).argmin()])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeometryPlan(MixedPlan):
    """A `MixedPlan` whose "source" images are drawn to match their targets (`domain_pairs`), once `outlines` are known; until then as they come."""

    outlines: np.ndarray | None = None
    """Float16 "N h w" of all records, NaN where there is none."""

    def indices(self, step: int) -> np.ndarray:
        """As `MixedPlan.indices`; a source that goes with several targets is drawn for the first."""
        out = MixedPlan.indices(self, step)
        if self.outlines is None:
            return out
        words = [self.parts[number].word for number in self._slots()]
        members = next(part.members for part in self.parts if part.word == "source")
        for source, target in reversed(domain_pairs(words)):
            rng = generator("geometry", self.seed, step, source)
            out[source] = matching(self.outlines[out[target]], self.outlines, rng, members=members)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class InOrder(Plan):
    """Every image in the order of the records."""

    def _order(self, epoch: int) -> np.ndarray:
        return np.arange(self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineSource(SemanticSource):
    """The same photos once each through the same depth stage, which keeps their disparity for the run to come; a pack holds outlines."""

    plan: InOrder

    def pack(self, rows: Rows) -> Packed:
        """`disparity` "n h w" of the places `image_ids`; NaN for a photo that cannot be read."""
        from depthbox.data.pack import outcome_of

        step = int(rows["step"][0])
        asked = self.plan.indices(step)[np.asarray(rows["slot"], np.int64)]
        maps = [resized_map(np.array(one, np.float32), OUTLINE_HW) for one in rows["disparity"]]
        outlines = np.stack(maps).astype(np.float16)
        outlines[asked != np.asarray(rows["index"])] = np.nan
        return Packed(
            step=step,
            weak=np.zeros((len(asked), 0), np.uint8),
            strong=None,
            teacher=None,
            disparity=outlines,
            sizes_hw=(OUTLINE_HW,) * len(asked),
            teacher_sizes_hw=(),
            boxes=(),
            labels=(),
            masks=None,
            image_ids=tuple(int(place) for place in asked),
            outcome=outcome_of(rows),
        )

    def _labels(self, record: object, size_hw: tuple[int, int], shown_hw: tuple[int, ...]) -> np.ndarray:
        return np.zeros((0, 0), np.uint8)

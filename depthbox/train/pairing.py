"""Before the first step of a run that pairs by geometry: the outline of every photo's disparity, through the run's own depth stage and cache."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from depthbox.core.errors import UsageError
from depthbox.data.pairing import OUTLINE_HW, GeometryPlan, InOrder, OutlineSource
from depthbox.data.semantic_source import SemanticSource
from depthbox.data.source import Packed, Source
from depthbox.train.job import Job
from depthbox.train.loop import interruption

__all__ = ["Stream", "with_outlines"]

log = logging.getLogger("depthbox")

BATCH = 16

Stream = Callable[[Source, range], Iterator[Packed]]
"""The packs of some steps of a source, in order."""


def with_outlines(job: Job, stream: Stream) -> Job:
    """The job with what its plan needs to pair by geometry; itself where it does not. Kept in `out`, so that a run that goes on looks at no photo again.

    Raises `Interrupted` after a stop request, `UsageError` where the run has no depth.
    """
    source = job.source
    if not isinstance(source, SemanticSource) or not isinstance(source.plan, GeometryPlan):
        return job
    if job.depth is None:
        raise UsageError("data.pairing=geometry compares disparities; set depth.source")
    kept = job.out / "outlines.npz"
    name = f"{source.data.digest} {job.depth.spec}"
    outlines = _kept(kept, name)
    if outlines is None:
        outlines = _made(job, source, stream)
        np.savez_compressed(kept, outlines=outlines, name=np.array(name))
    return replace(job, source=replace(source, plan=replace(source.plan, outlines=outlines)))


def _made(job: Job, source: SemanticSource, stream: Stream) -> np.ndarray:
    images = len(source.data.records)
    given = {field.name: getattr(source, field.name) for field in fields(SemanticSource)}
    plan = InOrder(images=images, batch_size=min(BATCH, images), seed=0)
    looking = OutlineSource(**given | {"plan": plan, "frames_hw": None})
    outlines = np.full((images, *OUTLINE_HW), np.nan, np.float16)
    inferred = 0
    for pack in stream(looking, range(-(-images // plan.batch_size))):
        assert pack.disparity is not None
        outlines[list(pack.image_ids)] = pack.disparity
        inferred += pack.outcome.inferences
        if job.stop_file.exists():
            raise interruption(job.stop_file)
    log.info("pairing: looked at the depth of %d images, %d of them anew", images, inferred)
    return outlines


def _kept(file: Path, name: str) -> np.ndarray | None:
    """The outlines of an earlier try of the same data and depth."""
    try:
        with np.load(file) as said:
            return said["outlines"] if str(said["name"]) == name else None
    except (OSError, ValueError, KeyError):
        return None

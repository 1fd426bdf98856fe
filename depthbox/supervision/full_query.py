"""Full supervision of the query head: every image has masks (Mask2Former)."""

from collections.abc import Mapping

from torch import nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule, constant
from depthbox.supervision.config import FullConfig
from depthbox.supervision.method import Losses, Teacherless
from depthbox.supervision.parts.points import DrawnPoints, extent_of
from depthbox.supervision.parts.query_start import middles, query_start
from depthbox.supervision.parts.query_terms import query_terms, targets_of

__all__ = ["FullQuery"]


class FullQuery(Teacherless):
    """`Method` with masks, for a `QuerySegmenter`."""

    def __init__(self, config: FullConfig, *, picked: bool) -> None:
        """`picked`: the student's queries are picked from the photo, and it learns where."""
        self.config = config
        self.weights: Mapping[str, Schedule] = {
            name: constant(getattr(config.query_weights, name))
            for name in config.query_weights.__slots__
            if picked or name != "query_start"
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        views, number = batch.views, len(batch.instances)
        targets = [targets_of(one) for one in batch.instances]
        outputs = student(views.strong, views.valid, middles(targets, views.valid))
        names = [(step, image) for image in batch.image_ids or range(number)]
        points = DrawnPoints(self.config.query.points, names=names, extent_xy=extent_of(views.valid))
        terms = query_terms(outputs, targets, self.config.query, points=points)
        if outputs.picked is not None:
            terms["query_start"] = query_start(outputs.picked.cells, targets, no_object=self.config.query.no_object)
        return Losses(terms=terms, figures={})

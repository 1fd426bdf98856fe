"""A few images have masks, some boxes alone, the others nothing: a teacher's queries become their labels where they are good enough (PL-DC, arXiv 2505.11075)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule
from depthbox.models.query_head import QueryOutputs
from depthbox.models.segmenter import Model
from depthbox.ops.pairwise import Edges
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.box_query_terms import (
    box_query_terms,
    box_targets,
    paired_masks,
    query_affinities,
)
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.points import DrawnPoints, extent_of
from depthbox.supervision.parts.pseudo_labels import as_targets
from depthbox.supervision.parts.query_start import middles, query_start
from depthbox.supervision.parts.query_terms import QueryTargets, matched, query_terms, targets_of
from depthbox.supervision.parts.teaching import Taught
from depthbox.supervision.semi_supervised import Seen, SemiSupervised, split

__all__ = ["PlDc"]

PSEUDO = {"query_class": "pseudo_class", "query_bce": "pseudo_mask_bce", "query_dice": "pseudo_mask_dice"}


class PlDc(SemiSupervised):
    """`Method` for a `QuerySegmenter`: labelled images in both views, unlabelled ones in the strong view as the teacher sees the weak one.

    Images with boxes alone (ours) are looked at like those with masks. Their terms exist only in a run that has such images (`boxed`), those of
    disparity only where there is `depth`, and the affinities of pseudo masks (ours) only with a weight.
    """

    def _weights(self, student: Model) -> dict[str, Schedule]:
        weights, query = self.config.weights, student.config.query
        has = {
            "boxed_class": self.boxed,
            "query_start": query.start == "picked",
            "pseudo_start": weights.pseudo_start > 0,
        }
        return self._scheduled(weights, has)

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        masked, boxed, unlabelled = split(batch)
        taught = self._taught(batch, masked, unlabelled, step)
        learned = unlabelled if taught.kept else unlabelled[:0]

        views, seen = batch.views, Seen(masked=masked, boxed=boxed, learned=learned)
        images, valid = seen.shown(views)
        targets = self._targets(batch, masked, boxed, taught)
        outputs = student(images, valid, middles(targets, valid))

        edges = active_edges(views, self.config.boxed, depth=self.depth) if self._affine() else {}
        ids = batch.image_ids or range(len(batch.instances))
        names = [(step, ids[i], int(strong)) for i, strong in zip(seen.owners.tolist(), seen.strong, strict=True)]
        drawn = DrawnPoints(self.config.query.points, names=names, extent_xy=extent_of(views.valid[seen.owners]))
        terms = self._of_labels(batch, seen, targets, outputs, drawn, edges)
        terms |= self._of_pseudo_labels(taught, seen, targets, outputs, drawn, edges)
        return Losses(terms=terms, figures=taught.figures)

    def _targets(self, batch: Batch, masked: Tensor, boxed: Tensor, taught: Taught) -> list[QueryTargets]:
        """What each view of `Seen` holds: true masks, boxes as masks, pseudo masks."""
        size_hw = (batch.views.weak.shape[-2], batch.views.weak.shape[-1])
        truth = [targets_of(batch.instances[i]) for i in masked.tolist()]
        boxes = [box_targets(batch.instances[i], size_hw) for i in boxed.tolist()]
        pseudo = [as_targets(one, weigh_pixels=self.config.uncertainty) for one in taught.kept]
        return [*truth, *truth, *boxes, *boxes, *pseudo]

    def _of_labels(
        self,
        batch: Batch,
        seen: "Seen",
        targets: Sequence[QueryTargets],
        outputs: QueryOutputs,
        points: DrawnPoints,
        edges: Mapping[str, Edges],
    ) -> dict[str, Tensor]:
        query, (masked, boxed, _) = self.config.query, seen.parts
        terms = query_terms(outputs.of(masked), targets[masked], query, points=points.of(masked))
        owners = seen.owners[boxed].tolist()
        objects = [batch.instances[i] for i in owners]
        if self.boxed:
            terms |= box_query_terms(
                outputs.of(boxed), objects, owners, edges, self.config.boxed, no_object=query.no_object
            )
        if outputs.picked is not None:
            cells = outputs.picked.cells[: boxed.stop]
            terms["query_start"] = query_start(cells, targets[: boxed.stop], no_object=query.no_object)
        return terms

    def _of_pseudo_labels(
        self,
        taught: Taught,
        seen: "Seen",
        targets: Sequence[QueryTargets],
        outputs: QueryOutputs,
        points: DrawnPoints,
        edges: Mapping[str, Edges],
    ) -> dict[str, Tensor]:
        query, learned = replace(self.config.query, no_object=self.config.pseudo_no_object), seen.parts[2]
        mine, where, pseudo = outputs.of(learned), points.of(learned), targets[learned]
        pairs = matched(mine, pseudo, query, where)
        terms = query_terms(mine, pseudo, query, points=where, background=_any(pseudo), pairs=pairs)
        terms = {PSEUDO[name]: term for name, term in terms.items()}
        sources = {f"pseudo_{name}": edge for name, edge in edges.items() if f"pseudo_{name}" in self.weights}
        if sources:
            boxes = [_extents(one.logits > 0) for one in taught.kept]
            found = paired_masks(mine, pairs, boxes, seen.owners[learned].tolist())
            terms |= query_affinities(found, sources, dilation=self.config.boxed.dilation)
        if "pseudo_start" in self.weights:
            assert mine.picked is not None
            # That no object is kept somewhere does not say that there is none.
            terms["pseudo_start"] = query_start(mine.picked.cells, pseudo, no_object=0.0)
        return terms


def _extents(masks: Tensor) -> Tensor:
    """The boxes of bool masks "N h w", as masks."""
    return masks.any(2)[:, :, None] & masks.any(1)[:, None, :]


def _any(targets: Sequence[QueryTargets]) -> bool:
    """A local batch without any pseudo label teaches no background: its images are not known to be empty."""
    return any(len(one.labels) for one in targets)

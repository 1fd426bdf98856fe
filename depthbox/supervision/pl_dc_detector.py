"""PL-DC for a detector with dynamic masks (ours): masks for a few images, boxes for some, nothing for the others."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch, Instances
from depthbox.core.schedule import Schedule
from depthbox.models.segmenter import Model
from depthbox.ops.pairwise import Edges
from depthbox.supervision.method import Losses
from depthbox.supervision.parts.assignment import Positives
from depthbox.supervision.parts.box_terms import affinities, box_prior, projection
from depthbox.supervision.parts.detection_terms import detection_terms
from depthbox.supervision.parts.edges import active_edges
from depthbox.supervision.parts.instance_step import InstanceStep, instance_step
from depthbox.supervision.parts.mask_terms import mask_terms
from depthbox.supervision.parts.pseudo_labels import PseudoLabels, uncertainty
from depthbox.supervision.parts.teaching import Taught
from depthbox.supervision.semi_supervised import Seen, SemiSupervised, split

__all__ = ["PlDcDetector"]

DETECTION = {"class_focal": "pseudo_class", "box_giou": "pseudo_box", "box_quality": "pseudo_quality"}


class PlDcDetector(SemiSupervised):
    """`Method` for a `Segmenter`: as `PlDc`, with the losses of `Full` where there are masks, those of `BoxDepth` where there are boxes alone, and a pseudo
    label's box and mask as the teacher made them. A batch without pseudo labels teaches no background."""

    def _weights(self, student: Model) -> dict[str, Schedule]:
        return self._scheduled(self.config.detector.weights, {})

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        masked, boxed, unlabelled = split(batch)
        taught = self._taught(batch, masked, unlabelled, step)
        learned = unlabelled if taught.kept else unlabelled[:0]
        views, seen = batch.views, Seen(masked=masked, boxed=boxed, learned=learned)
        images, _ = seen.shown(views)
        labelled = [*masked.tolist() * 2, *boxed.tolist() * 2]
        objects = [batch.instances[i] for i in labelled] + [_objects(one) for one in taught.kept]
        found = instance_step(
            student,
            images,
            objects or [_nothing(images)],
            masks_per_image=self.config.detector.masks_per_image,
        )
        edges = active_edges(views, self.config.boxed, depth=self.depth) if self._affine() else {}
        terms = self._of_labels(found, objects, seen, views.strong, edges)
        return Losses(terms=terms | self._of_pseudo_labels(found, taught, seen, edges), figures=taught.figures)

    def _of_labels(
        self, found: InstanceStep, objects: list[Instances], seen: Seen, strong: Tensor, edges: Mapping[str, Edges]
    ) -> dict[str, Tensor]:
        masked, boxed, _ = seen.parts
        labelled = slice(0, boxed.stop)
        terms = detection_terms(
            found.dense.of(labelled), found.every.of(labelled), quality=self.config.detector.box_quality
        )
        drawn = found.take(found.positives.within(masked))
        terms |= mask_terms(drawn.masks.logits, drawn.truth(objects), drawn.boxes)
        if self.boxed:
            mine = found.take(found.positives.within(boxed))
            size_hw, prior = (strong.shape[-2], strong.shape[-1]), self.config.boxed.prior_size
            terms["projection"] = projection(mine.masks.logits, mine.boxes)
            terms["box_prior"] = box_prior(mine.masks.logits, mine.positives.boxes_xyxy, size_hw, size=prior)
            terms |= self._affinities(mine, seen, edges)
        return terms

    def _of_pseudo_labels(
        self, found: InstanceStep, taught: Taught, seen: Seen, edges: Mapping[str, Edges]
    ) -> dict[str, Tensor]:
        config, learned, sure_from = self.config, seen.parts[2], self.config.detector.class_from
        dense, every = found.dense.of(learned), found.every.of(learned)
        said = detection_terms(
            dense,
            every,
            quality=config.detector.box_quality,
            background=config.detector.pseudo_background,
            class_weights=(_of_objects(every, taught, "class_share") >= sure_from).float() if sure_from else None,
        )
        # Where nothing is kept there may be objects all the same. Multiplied, so that a rank of that kind has a graph as the others do.
        heard = float(any(len(one.labels) for one in taught.kept))
        terms = {DETECTION[name]: heard * term for name, term in said.items()}
        mine = found.take(found.positives.within(learned))
        positives = mine.positives.of(learned)
        logits = _of_objects(positives, taught, "logits") if len(mine.boxes) else mine.masks.logits.detach()
        sure = 1 - uncertainty(logits) if config.uncertainty else None
        masks = mask_terms(mine.masks.logits, (logits > 0).to(logits.dtype), mine.boxes, sure)
        terms |= {f"pseudo_{name}": term for name, term in masks.items()}
        return terms | self._affinities(mine, seen, {f"pseudo_{name}": edge for name, edge in edges.items()})

    def _affinities(self, mine: InstanceStep, seen: Seen, edges: Mapping[str, Edges]) -> dict[str, Tensor]:
        """Those with a weight; the edges are of the batch's images."""
        sources = {name: edge for name, edge in edges.items() if name in self.weights}
        if not sources:
            return {}
        owners = seen.owners[mine.positives.image_index] if len(seen.owners) else mine.positives.image_index
        values = affinities(
            mine.masks.logits, owners, mine.boxes, list(sources.values()), dilation=self.config.boxed.dilation
        )
        return dict(zip(sources, values, strict=True))


def _objects(kept: PseudoLabels) -> Instances:
    """What the teacher saw, as labels; the masks stay behind: they are compared at stride 4, where they were made."""
    assert kept.boxes_xyxy is not None
    return Instances(boxes_xyxy=kept.boxes_xyxy, labels=kept.labels)


def _nothing(images: Tensor) -> Instances:
    none = torch.zeros(0, dtype=torch.int64, device=images.device)
    return Instances(boxes_xyxy=images.new_zeros(0, 4), labels=none)


def _of_objects(positives: Positives, taught: Taught, name: str) -> Tensor:
    """That column of the pseudo labels, of the one that each positive of the unlabelled images answers for."""
    starts = positives.image_index.new_tensor([0, *(len(one.labels) for one in taught.kept)]).cumsum(0)
    rows = starts[positives.image_index] + positives.object_index
    return torch.cat([getattr(one, name) for one in taught.kept])[rows] if taught.kept else rows.float()

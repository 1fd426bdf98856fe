"""What boxes alone say about queries: box matching (Box2Mask, Li et al. 2022), and the BoxInst and depth terms on the whole masks of the matched ones.

Sums over the decoder's layers, like all terms of queries. A box of a query's mask is sampled where its cells lie, on the pixel edge 4 c + 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.batch import Instances
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.query_head import QueryOutputs
from depthbox.ops.masks import box_masks
from depthbox.ops.pairwise import Edges
from depthbox.supervision.config import BoxTermsConfig
from depthbox.supervision.parts.box_terms import affinities, box_prior, projection
from depthbox.supervision.parts.query_matching import cheapest, finite, pairwise_dice
from depthbox.supervision.parts.query_terms import Pairs, QueryTargets, query_class

__all__ = ["PairedMasks", "box_query_terms", "box_targets", "match_boxes", "paired_masks", "query_affinities"]

HALF = 0.5
"""A pixel's middle lies half a pixel behind its edge: boxes moved by so much are sampled at edges by what samples at pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedMasks:
    """The masks of all matched queries of all layers, one after the other, image by image."""

    logits: Tensor
    """Float "M h w", with a gradient."""
    image_index: Tensor
    """Int64 "M": the image in the batch."""
    boxes: Tensor
    """Bool "M h w": the box of the object that each answers for."""
    layers: int


def box_targets(instances: Instances, size_hw: tuple[int, int]) -> QueryTargets:
    """The labelled boxes as masks at stride 4; a box too small for a cell has the one its middle is in."""
    boxes = instances.boxes_xyxy
    cells = box_masks(boxes + HALF, size_hw, MASK_STRIDE)
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 / MASK_STRIDE).long().unbind(1)
    rows = torch.arange(len(boxes), device=boxes.device)
    cells[rows, y.clamp(0, cells.shape[1] - 1), x.clamp(0, cells.shape[2] - 1)] = True
    return QueryTargets(labels=instances.labels, masks=cells.float())


@torch.no_grad()
def match_boxes(outputs: QueryOutputs, image: int, targets: QueryTargets, config: BoxTermsConfig) -> Pairs:
    """The cheapest pairs of one image in every layer: class, and dice of the masks' projections on both axes, in float32 whatever surrounds it."""
    masks, boxes = outputs.masks[:, image].float(), targets.masks
    with torch.autocast(masks.device.type, enabled=False):
        cost = -config.cost_class * outputs.class_logits[:, image].float().softmax(-1)[..., targets.labels]
        for axis in (-1, -2):
            cost = cost + config.cost_projection * pairwise_dice(masks.amax(axis), boxes.amax(axis))
    rows, columns = zip(*(cheapest(layer) for layer in finite(cost).cpu()), strict=True)
    return Pairs(queries=torch.stack(rows).to(cost.device), targets=torch.stack(columns).to(cost.device))


def paired_masks(
    outputs: QueryOutputs, pairs: Sequence[Pairs], boxes: Sequence[Tensor], images: Sequence[int]
) -> PairedMasks:
    """`boxes`: bool "N h w" of each image's targets, `images`: which of the batch each is."""
    layers, size = len(outputs.class_logits), outputs.masks.shape[-2:]
    # Without an image there is a graph all the same.
    nothing = 0 * (outputs.embeddings.sum() + outputs.fine[..., 0, 0].sum())
    logits = [outputs.chosen(i, pair.queries).float().flatten(0, 1) for i, pair in enumerate(pairs)]
    inside = [box[pair.targets.flatten()] for box, pair in zip(boxes, pairs, strict=True)]
    owners = [torch.full_like(pair.targets.flatten(), image) for image, pair in zip(images, pairs, strict=True)]
    empty = outputs.masks.new_zeros(0, *size)
    return PairedMasks(
        logits=torch.cat([empty, *logits]) + nothing,
        image_index=torch.cat([empty.new_zeros(0, dtype=torch.int64), *owners]),
        boxes=torch.cat([empty.bool(), *inside]),
        layers=layers,
    )


def box_query_terms(
    outputs: QueryOutputs,
    objects: Sequence[Instances],
    images: Sequence[int],
    edges: Mapping[str, Edges],
    config: BoxTermsConfig,
    *,
    no_object: float,
) -> dict[str, Tensor]:
    """`boxed_class`, `projection`, `box_prior` and the affinities of `edges`, of the images of `outputs`.

    `images`: which of the batch (of `edges`) each is. Every rank must call it alike; 0 with a graph where there is no image.
    """
    size_hw = (MASK_STRIDE * outputs.masks.shape[-2], MASK_STRIDE * outputs.masks.shape[-1])
    with torch.autocast(outputs.masks.device.type, enabled=False):
        targets = [box_targets(one, size_hw) for one in objects]
        pairs = [match_boxes(outputs, i, one, config) for i, one in enumerate(targets)]
        found = paired_masks(outputs, pairs, [one.masks.bool() for one in targets], images)
        corners = [one.boxes_xyxy[pair.targets.flatten()] for one, pair in zip(objects, pairs, strict=True)]
        boxes_xyxy = torch.cat([found.logits.new_zeros(0, 4), *corners]) + HALF
        prior = box_prior(found.logits, boxes_xyxy, size_hw, size=config.prior_size)
        return {
            "boxed_class": query_class(outputs, pairs, targets, no_object=no_object),
            "projection": found.layers * projection(found.logits, found.boxes),
            "box_prior": found.layers * prior,
        } | query_affinities(found, edges, dilation=config.dilation)


def query_affinities(found: PairedMasks, edges: Mapping[str, Edges], *, dilation: int) -> dict[str, Tensor]:
    """The mean over the active edges of each source, summed over the layers, by the name of the source."""
    values = affinities(found.logits, found.image_index, found.boxes, list(edges.values()), dilation=dilation)
    return {name: found.layers * value for name, value in zip(edges, values, strict=True)}

"""The losses of the query head: class, pixels and overlap, for every decoder layer with its own matching (Mask2Former)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.batch import Instances
from depthbox.core.dist import global_mean, sum_over_ranks, world_size
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.query_head import QueryOutputs
from depthbox.supervision.config import QueryTermsConfig
from depthbox.supervision.parts.points import Points, at_points, shared_points
from depthbox.supervision.parts.query_matching import cheapest, matching_cost

__all__ = ["Pairs", "QueryTargets", "match", "matched", "query_class", "query_terms", "targets_of"]


HALF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTargets:
    """What one image holds."""

    labels: Tensor
    """Int64 "N"."""
    masks: Tensor
    """Float "N h w" in 0..1 over the padded image, at any stride."""
    weights: Tensor | None = None
    """Float "N": how much each counts in all three terms; None: 1."""
    pixel_weights: Tensor | None = None
    """Float "N h w", at any stride: how much each pixel counts in `query_bce`, which is not divided by their sum; 1 outside; None: 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The matching of one image in every layer, in the order of the targets: int64 "L n" each."""

    queries: Tensor
    targets: Tensor


def targets_of(instances: Instances) -> QueryTargets:
    """The labelled objects whose mask has a pixel in this view."""
    assert instances.masks is not None, "the query head learns from masks"
    there = instances.masks.flatten(1).any(1)
    return QueryTargets(labels=instances.labels[there], masks=instances.masks[there].float())


def query_terms(
    outputs: QueryOutputs,
    targets: Sequence[QueryTargets],
    config: QueryTermsConfig,
    *,
    points: Points,
    background: bool = True,
    pairs: Sequence[Pairs] | None = None,
) -> dict[str, Tensor]:
    """`query_class`, `query_bce` and `query_dice`, each summed over the layers.

    Class: cross-entropy over all queries, "no object" weighing `no_object`, divided by the sum of weights; 0 without `background`. The others: mean over
    a pair's points, sum over pairs / number of targets of the global batch (at least 1). In float32 whatever surrounds it; 0 with a graph where
    nothing is to be learned, even from no image. Every rank must call it alike: counts are summed over ranks.
    """
    with torch.autocast(outputs.masks.device.type, enabled=False):
        pairs = matched(outputs, targets, config, points) if pairs is None else pairs
        sums = [_mask_sums(outputs, i, pairs[i], one, points) for i, one in enumerate(targets)]
        nothing = 0 * (outputs.embeddings.sum() + outputs.fine[..., 0, 0].sum())
        count = float(sum(len(one.labels) for one in targets))
        return {
            "query_class": query_class(outputs, pairs, targets, no_object=config.no_object, background=background),
            "query_bce": global_mean(sum((bce for bce, _ in sums), nothing), count),
            "query_dice": global_mean(sum((dice for _, dice in sums), nothing), count),
        }


def query_class(
    outputs: QueryOutputs,
    pairs: Sequence[Pairs],
    targets: Sequence[QueryTargets],
    *,
    no_object: float,
    background: bool = True,
) -> Tensor:
    """Cross-entropy over all queries, divided by the sum of their weights over the global batch; 0 without `background`. Summed over the layers."""
    entropy, weights = _class_sums(outputs.class_logits.float(), pairs, targets, no_object)
    if not background:
        entropy, weights = 0 * entropy, 0 * weights
    return (entropy * world_size() / sum_over_ranks(weights).clamp(min=1e-6)).sum()


def matched(
    outputs: QueryOutputs, targets: Sequence[QueryTargets], config: QueryTermsConfig, points: Points
) -> list[Pairs]:
    """The pairs of every image."""
    return [match(outputs, i, one, config, points.matching(i)) for i, one in enumerate(targets)]


@torch.no_grad()
def match(outputs: QueryOutputs, image: int, targets: QueryTargets, config: QueryTermsConfig, points: Tensor) -> Pairs:
    """The pairs of one image, compared at `points` "P 2", in float32 whatever surrounds it."""
    with torch.autocast(outputs.masks.device.type, enabled=False):
        # A mask is a product with `fine`, and sampling is linear: a hundred maps are sampled instead of one for every query and layer.
        said = outputs.embeddings[:, image].float() @ shared_points(outputs.fine[image].float(), points)
        wanted = shared_points(targets.masks, points)
        cost = matching_cost(outputs.class_logits[:, image], said, targets.labels, wanted, config)
        if outputs.picked is not None:
            cost = cost + config.cost_outside * _outside(targets, outputs.picked.points_xy[image], outputs.fine)
    rows, columns = zip(*(cheapest(layer) for layer in cost.cpu()), strict=True)
    return Pairs(queries=torch.stack(rows).to(cost.device), targets=torch.stack(columns).to(cost.device))


def _outside(targets: QueryTargets, points_xy: Tensor, fine: Tensor) -> Tensor:
    """Whether points "Q 2" (pixels) are outside the targets: float "Q N"."""
    size = points_xy.new_tensor((fine.shape[-1], fine.shape[-2])) * MASK_STRIDE
    return (shared_points(targets.masks, points_xy / size).T < HALF).float()


def _mask_sums(
    outputs: QueryOutputs, image: int, pairs: Pairs, targets: QueryTargets, points: Points
) -> tuple[Tensor, Tensor]:
    """BCE and dice of an image's pairs at their points, summed over pairs and layers."""
    logits = outputs.chosen(image, pairs.queries).float()
    where, owners = points.loss(image, logits.detach()), pairs.targets
    said, wanted = at_points(logits.flatten(0, 1), where.flatten(0, 1)), _of_targets(targets.masks, owners, where)
    weights = said.new_ones(len(said)) if targets.weights is None else targets.weights[owners.flatten()]
    pixels = F.binary_cross_entropy_with_logits(said, wanted, reduction="none")
    if targets.pixel_weights is not None:
        # What is sampled, with zeros outside, is the uncertainty: at the border of the photo nobody is unsure.
        pixels = pixels * (1 - _of_targets(1 - targets.pixel_weights, owners, where))
    p = said.sigmoid()
    dice = 1 - (2 * (p * wanted).sum(1) + 1) / (p.sum(1) + wanted.sum(1) + 1)
    return (weights * pixels.mean(1)).sum(), (weights * dice).sum()


def _of_targets(maps: Tensor, owners: Tensor, points: Tensor) -> Tensor:
    """The targets' maps "N h w" at the points "L n P 2" of those in `owners` "L n", layer by layer (at full size, all at once would be large): "Ln P"."""
    return torch.cat([at_points(maps[of], where) for of, where in zip(owners, points, strict=True)])


def _class_sums(
    logits: Tensor, pairs: Sequence[Pairs], targets: Sequence[QueryTargets], no_object: float
) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of "L B Q K+1", and the class weights, each summed over an image's queries and all images: "L" and "L".

    An instance weight of a half halves an object's pull: it is not among the weights that the sum is divided by.
    """
    nothing = logits.shape[-1] - 1
    labels = torch.full(logits.shape[:3], nothing, device=logits.device)
    shares = torch.ones(logits.shape[:3], device=logits.device)
    layers = torch.arange(len(logits), device=logits.device)[:, None]
    for image, (pair, one) in enumerate(zip(pairs, targets, strict=True)):
        labels[layers, image, pair.queries] = one.labels[pair.targets]
        if one.weights is not None:
            shares[layers, image, pair.queries] = one.weights[pair.targets]
    weights = torch.where(labels == nothing, no_object, 1.0)
    entropy = F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view_as(weights)
    return (entropy * weights * shares).sum((1, 2)), weights.sum((1, 2))

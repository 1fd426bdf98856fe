"""Self-distillation: the teacher looks at the plain, larger photo, its detections are matched to the labelled boxes, the kept masks teach the student."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from depthbox.core.batch import Batch, Instances, TeacherView, Views
from depthbox.core.schedule import Schedule
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.config import InferenceConfig
from depthbox.models.predict import ImagePredictions, predict
from depthbox.models.segmenter import Segmenter
from depthbox.ops.masks import box_masks
from depthbox.supervision.config import DistillationConfig
from depthbox.supervision.parts.matching import (
    depth_agreement,
    depth_aware_scores,
    depth_known,
    match_best,
    match_greedily,
    right_similarity,
)
from depthbox.supervision.parts.pseudo_masks import PseudoMasks, mask_quality
from depthbox.supervision.parts.teacher import Teacher

__all__ = ["Distilled", "distil", "nothing_distilled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """One pseudo-mask record an image, and what became of the matching."""

    pseudo: Sequence[PseudoMasks]
    figures: dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    pseudo: PseudoMasks
    kept: int
    depth_agreement: Tensor
    """Of the kept pairs in whose box disparity is known: "M"."""


@torch.no_grad()
def distil(
    teacher: Teacher, batch: Batch, config: DistillationConfig, *, depth_cost: Schedule, theta: float, step: int
) -> Distilled:
    """The pseudo masks of a batch. An image without boxes or detections has none; the others are not held up by it."""
    views, model = batch.views, teacher.model
    assert isinstance(model, Segmenter)
    seen = views.teacher or TeacherView(images=views.weak, scale_xy=views.weak.new_ones(len(views.weak), 2))
    size_hw = (views.weak.shape[-2], views.weak.shape[-1])
    similarity = None if views.disparity is None else right_similarity(views.disparity, views.valid, theta=theta)
    found = [
        _match_one(
            _as_student_sees(predicted, scale, size_hw),
            objects,
            None if similarity is None else similarity[i],
            config,
            depth_cost=depth_cost(step),
            size_hw=size_hw,
        )
        for i, (predicted, scale, objects) in enumerate(
            zip(
                predict(model, seen.images, config=_worth_a_look(config, depth_cost(step))),
                seen.scale_xy,
                batch.instances,
                strict=True,
            )
        )
    ]
    agreements = torch.cat([m.depth_agreement for m in found])
    kept = views.weak.new_tensor(float(sum(m.kept for m in found)))
    figures = {
        "distillation/kept_an_image": kept / len(found),
        "distillation/kept_share": kept / max(sum(len(o.boxes_xyxy) for o in batch.instances), 1),
    }
    # Where no pair is kept, or no disparity known, nothing was measured: a 0 would be read as masks that cross every depth edge.
    measured = {"distillation/depth_agreement": agreements.mean()} if len(agreements) else {}
    return Distilled(pseudo=[m.pseudo for m in found], figures=figures | measured)


def _worth_a_look(config: DistillationConfig, depth_cost: float) -> InferenceConfig:
    """All detections, or without those whose score could not reach the threshold even with the best box and depth: most of a hundred masks are not made."""
    if config.matching == "greedy" or config.all_detections:
        return InferenceConfig()
    others = config.box_cost + depth_cost
    return InferenceConfig(min_score=max(0.0, (config.threshold - others) / max(1 - others, 1e-6)))


def nothing_distilled(views: Views, instances: Sequence[Instances]) -> Distilled:
    """Before the teacher starts: no pseudo mask for any box."""
    height, width = (size // MASK_STRIDE for size in views.weak.shape[-2:])
    return Distilled(pseudo=[_none_for(len(o.boxes_xyxy), (height, width), views.weak) for o in instances], figures={})


def _match_one(
    predicted: ImagePredictions,
    objects: Instances,
    similarity: Tensor | None,
    config: DistillationConfig,
    *,
    depth_cost: float,
    size_hw: tuple[int, int],
) -> _Match:
    boxes = box_masks(objects.boxes_xyxy, size_hw, MASK_STRIDE)
    none = _none_for(len(boxes), (boxes.shape[1], boxes.shape[2]), predicted.scores)
    if not len(boxes) or not len(predicted.scores):
        return _Match(pseudo=none, kept=0, depth_agreement=predicted.scores.new_zeros(0))
    agreement, known = _by_depth(predicted.masks, boxes, similarity, config)
    quality = mask_quality(predicted.masks)
    if config.matching == "greedy":
        rows, columns = match_greedily(objects.boxes_xyxy, predicted.boxes_xyxy, (predicted.scores * quality).sqrt())
    else:
        # Missing disparity is masked out of every depth term: without it box and score alone decide.
        scores = depth_aware_scores(
            objects.boxes_xyxy, predicted.boxes_xyxy, predicted.scores, agreement,
            box=config.box_cost, depth=depth_cost * known[:, None],
        )  # fmt: skip
        whole = torch.isfinite(predicted.masks).flatten(1).all(1)
        rows, columns = match_best(scores.where(whole, torch.nan), above=config.threshold)
    masks = predicted.masks[columns] * boxes[rows]
    masks = (masks > 0.5).to(masks.dtype) if config.binary else masks
    # A detection left over by the others may be matched to a box it does not touch (i): there is nothing to learn from it.
    there = box_iou(objects.boxes_xyxy, predicted.boxes_xyxy)[rows, columns] > 0
    rows, columns = rows[there], columns[there]
    none.masks[rows] = masks[there]
    none.confidence[rows] = (predicted.scores.sqrt() * quality).sqrt()[columns] if config.confidence else 1.0
    return _Match(pseudo=none, kept=len(rows), depth_agreement=agreement[rows, columns][known[rows]])


def _by_depth(
    masks: Tensor, boxes: Tensor, similarity: Tensor | None, config: DistillationConfig
) -> tuple[Tensor, Tensor]:
    """S_dmatch "N M", and bool "N": the boxes in which disparity is known somewhere."""
    if similarity is None:
        return masks.new_zeros(len(boxes), len(masks)), torch.zeros(len(boxes), dtype=torch.bool, device=masks.device)
    return depth_agreement(masks, boxes, similarity, form=config.form), depth_known(boxes, similarity)


def _as_student_sees(predicted: ImagePredictions, scale_xy: Tensor, size_hw: tuple[int, int]) -> ImagePredictions:
    """Boxes and masks in the student's pixels and stride-4 cells."""
    height, width = size_hw[0] // MASK_STRIDE, size_hw[1] // MASK_STRIDE
    same = bool((scale_xy == 1).all()) and predicted.masks.shape[-2:] == (height, width)
    return ImagePredictions(
        boxes_xyxy=predicted.boxes_xyxy / scale_xy.repeat(2),
        scores=predicted.scores,
        labels=predicted.labels,
        masks=predicted.masks if same else _resampled(predicted.masks, scale_xy, (height, width)),
    )


def _resampled(masks: Tensor, scale_xy: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """Cell c is the pixel 4 c + 2 of either view; pixel centres scale, so the student's p is the teacher's (p + 0.5) * scale - 0.5."""
    if not len(masks):
        return masks.new_zeros((0, *cells_hw))
    axes = []
    for cells, length, scale in zip(cells_hw, masks.shape[-2:], scale_xy.flip(0), strict=True):
        pixels = torch.arange(cells, device=masks.device) * MASK_STRIDE + MASK_STRIDE // 2
        there = ((pixels + 0.5) * scale - 0.5 - MASK_STRIDE // 2) / MASK_STRIDE
        axes.append(2 * there / max(length - 1, 1) - 1)
    ys, xs = torch.meshgrid(*axes, indexing="ij")
    return F.grid_sample(masks[None], torch.stack((xs, ys), -1)[None], padding_mode="border", align_corners=True)[0]


def _none_for(boxes: int, cells_hw: tuple[int, int], like: Tensor) -> PseudoMasks:
    return PseudoMasks(masks=like.new_zeros((boxes, *cells_hw)), confidence=like.new_zeros(boxes))

"""What a teacher says about a batch, whichever head it has: candidates for pseudo labels, and the features of their masks."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from depthbox.core.batch import Views
from depthbox.models.config import InferenceConfig
from depthbox.models.predict import detected, masks_at
from depthbox.models.query_head import OUTSIDE, QueryOutputs, QuerySegmenter
from depthbox.models.query_predict import QueryPairs, best_pairs, mask_quality
from depthbox.models.segmenter import Features, Model, Segmenter
from depthbox.supervision.parts.box_terms import at_masks

__all__ = ["Look", "look"]

TOP = 100
"""Candidates an image."""


class Look(Protocol):
    """One look at some images, which are counted by `at`."""

    def candidates(self, at: int) -> QueryPairs:
        """The best of an image, best first; for a detector the queries are locations."""
        ...

    def probabilities(self, at: int, queries: Tensor) -> Tensor:
        """Of every class: "N K"."""
        ...

    def features(self, at: int) -> Tensor:
        """ "C h w", C = `model.channels`."""
        ...


def look(model: Model, views: Views, images: Tensor) -> Look:
    """What `model` says about the weak views of `images` (int64 indices); its masks end where the photos do."""
    weak, valid = views.weak[images], views.valid[images]
    if isinstance(model, QuerySegmenter):
        return _QueryLook(outputs=model(weak, valid).within(valid))
    return _DetectorLook(model=model, said=model(weak), valid=valid)


@dataclass(frozen=True, slots=True, kw_only=True)
class _QueryLook:
    outputs: QueryOutputs

    def candidates(self, at: int) -> QueryPairs:
        return best_pairs(self.outputs.class_logits[-1, at], self.outputs.masks[-1, at], top=TOP)

    def probabilities(self, at: int, queries: Tensor) -> Tensor:
        return self.outputs.class_logits[-1, at, queries, :-1].softmax(1)

    def features(self, at: int) -> Tensor:
        return self.outputs.features[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DetectorLook:
    """Class quality is the score of the detection, sqrt(class probability * box quality); of boxes that overlap only the best is a candidate, and none is where no
    class has a probability above 0.05. Boxes end with the photo too."""

    model: Segmenter
    said: Features
    valid: Tensor

    def candidates(self, at: int) -> QueryPairs:
        photo = self.valid[at]
        size_hw = (int(photo.any(1).sum()), int(photo.any(0).sum()))
        alone = Features(
            dense=self.said.dense.of(slice(at, at + 1)), mask_features=self.said.mask_features[at : at + 1]
        )
        places, labels, scores, boxes = detected(alone.dense, 0, size_hw, InferenceConfig(top=TOP), by_class=False)
        padding = ~at_masks(photo[None])[0]
        logits = masks_at(self.model, alone, 0, places).expand(-1, *padding.shape).masked_fill(padding, OUTSIDE)
        return QueryPairs(
            query=places,
            labels=labels,
            class_quality=scores,
            mask_quality=mask_quality(logits),
            logits=logits,
            boxes_xyxy=boxes,
        )

    def probabilities(self, at: int, queries: Tensor) -> Tensor:
        said = self.said.dense.class_logits[at, queries].sigmoid()
        return said / said.sum(1, keepdim=True).clamp(min=1e-6)

    def features(self, at: int) -> Tensor:
        return self.said.dense.tower[0][at].float()

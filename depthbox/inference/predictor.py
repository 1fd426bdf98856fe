"""Photos in, objects out: the one contract that commands, the exported check and a server go by, whatever the head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from depthbox.data.config import ViewsConfig
from depthbox.data.decode import Decoded
from depthbox.data.schema import Detections
from depthbox.evaluate.runner import in_photo, network_input
from depthbox.inference.opened import TrainedModel
from depthbox.models.config import InferenceConfig
from depthbox.models.predict import predict
from depthbox.models.segmenter import Model
from depthbox.train.saved import with_weights
from depthbox.train.state import choose_device, mixed_precision

__all__ = ["InstancePredictor", "Predictor", "network_of", "predictor_of", "without_overlaps"]


class Predictor(Protocol):
    """A model that is ready to be used."""

    @property
    def views(self) -> ViewsConfig:
        """The size it wants photos at: short side and longest side."""
        ...

    def find(self, photos: Sequence[Decoded], image_ids: Sequence[int]) -> list[Detections]:
        """The objects of each photo, in the pixels of its file, best first. No depth is needed, and neighbours in a batch do not matter."""
        ...


class InstancePredictor:
    """A network that finds objects, of either head."""

    def __init__(self, model: Model, *, views: ViewsConfig, inference: InferenceConfig) -> None:
        self.model, self.views, self.inference = model, views, inference

    def find(self, photos: Sequence[Decoded], image_ids: Sequence[int]) -> list[Detections]:
        found: dict[int, Detections] = {}
        for batch in _alike(photos):
            images, valid = network_input([photos[i] for i in batch], self.device)
            for i, one in zip(batch, predict(self.model, images, config=self.inference, valid=valid), strict=True):
                found[i] = in_photo(one, photos[i], image_id=image_ids[i])
        return [found[i] for i in range(len(photos))]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def predictor_of(
    trained: TrainedModel,
    *,
    device: str = "auto",
    precision: str = "auto",
    views: ViewsConfig | None = None,
    inference: InferenceConfig | None = None,
) -> InstancePredictor:
    """The model on `device`; `views` and `inference` are as it was trained unless given."""
    place = choose_device(device)
    model = network_of(trained)
    model.mixed = mixed_precision(precision, place)
    model = model.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return InstancePredictor(model, views=views or trained.views, inference=inference or trained.inference)


def network_of(trained: TrainedModel) -> Model:
    """The network with its weights, in float32 on the CPU, ready to predict."""
    return with_weights(trained.model, trained.state, classes=len(trained.classes), named=trained.name)


def without_overlaps(found: Detections, *, iou: float) -> Detections:
    """Non-maximum suppression by masks: of two objects of a class whose masks overlap by more than `iou` the better one stays.

    Without masks nothing is taken away.
    """
    if not found.masks:
        return found
    from pycocotools import mask as coder

    rles: list = list(found.masks)
    overlap = torch.from_numpy(np.asarray(coder.iou(rles, rles, [0] * len(rles))))
    kept = _greedy(overlap, torch.from_numpy(found.labels), torch.from_numpy(found.scores), iou)
    return replace(
        found,
        boxes_xyxy=found.boxes_xyxy[kept],
        scores=found.scores[kept],
        labels=found.labels[kept],
        masks=tuple(found.masks[i] for i in kept),
    )


def _greedy(overlap: Tensor, labels: Tensor, scores: Tensor, iou: float) -> list[int]:
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not any(overlap[i, j] > iou and labels[i] == labels[j] for j in kept):
            kept.append(i)
    return kept


def _alike(photos: Sequence[Decoded]) -> list[list[int]]:
    """Photos of one padded size together: padding reaches into the group norms, so others would change the numbers."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, photo in enumerate(photos):
        groups.setdefault(tuple(-(-side // 32) for side in photo.image.shape[:2]), []).append(i)
    return list(groups.values())

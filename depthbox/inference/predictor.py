"""Photos in, objects or a class for every pixel out: the one contract that commands and a server go by, whatever the head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from depthbox.data.config import SemanticViewsConfig, ViewsConfig
from depthbox.data.decode import Decoded
from depthbox.data.schema import Detections
from depthbox.evaluate.label_maps import LabelMap
from depthbox.evaluate.runner import in_photo, network_input
from depthbox.evaluate.semantic import classes_of_photo
from depthbox.inference.opened import TrainedModel
from depthbox.models.config import InferenceConfig
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.predict import predict
from depthbox.models.segmenter import Model
from depthbox.train.saved import with_weights
from depthbox.train.state import choose_device, mixed_precision

__all__ = [
    "Found",
    "InstancePredictor",
    "PixelPredictor",
    "Predictor",
    "network_of",
    "predictor_of",
    "without_overlaps",
]

Found = Detections | LabelMap
"""Of one photo, in the pixels of its file: its objects, best first, or the class of every pixel."""


class Predictor(Protocol):
    """A model that is ready to be used."""

    @property
    def views(self) -> ViewsConfig | SemanticViewsConfig:
        """The size it wants photos at: short side and longest side."""
        ...

    def find(self, photos: Sequence[Decoded], image_ids: Sequence[int]) -> Sequence[Found]:
        """What each photo holds. No depth is needed, and neighbours in a batch do not matter."""
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


class PixelPredictor:
    """A network that gives every pixel a class. `window`: it sees a photo through overlapping squares of so many pixels (0: whole)."""

    def __init__(self, model: DenseNetwork, *, views: SemanticViewsConfig, window: int) -> None:
        self.model, self.views, self.window = model, views, window

    def find(self, photos: Sequence[Decoded], image_ids: Sequence[int]) -> list[LabelMap]:
        """One by one: a photo at its full size for every class takes far more memory than the network."""
        device, see = next(self.model.parameters()).device, self.model.class_logits
        return [
            LabelMap(image_id=image_id, classes=classes_of_photo(see, photo, window=self.window, device=device))
            for photo, image_id in zip(photos, image_ids, strict=True)
        ]


def predictor_of(
    trained: TrainedModel,
    *,
    device: str = "auto",
    precision: str = "auto",
    views: ViewsConfig | SemanticViewsConfig | None = None,
    inference: InferenceConfig | None = None,
    window: int = 0,
) -> InstancePredictor | PixelPredictor:
    """The model on `device`; `views` and `inference` are as it was trained unless given. `inference` is of objects, `window` of pixels."""
    place = choose_device(device)
    model = network_of(trained)
    model.mixed = mixed_precision(precision, place)
    model = model.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = views or trained.views
    if isinstance(model, DenseNetwork):
        assert isinstance(views, SemanticViewsConfig)
        return PixelPredictor(model, views=views, window=window)
    assert isinstance(views, ViewsConfig)
    return InstancePredictor(model, views=views, inference=inference or trained.inference)


def network_of(trained: TrainedModel) -> Model | DenseNetwork:
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

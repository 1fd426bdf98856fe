"""A small network with the query head, and outputs made of given numbers."""

import torch
from torch import Tensor

from depthbox.core.config import vary
from depthbox.models.config import ModelConfig
from depthbox.models.query_head import QueryOutputs, QuerySegmenter
from depthbox.models.segmenter import build

__all__ = ["SMALL_QUERY", "GivenPoints", "outputs_of", "query_network"]

SMALL_QUERY = vary(
    ModelConfig(backbone="mobilenetv2_035", weights="none", channels=32, head="query"),
    {"query.start": "learned", "query.queries": 12, "query.layers": 3, "query.heads": 4, "query.width": 32},
)


def query_network(*, seed: int = 3, classes: int = 3, **overrides: object) -> QuerySegmenter:
    torch.manual_seed(seed)
    model = build(vary(SMALL_QUERY, overrides), classes=classes)
    assert isinstance(model, QuerySegmenter)
    return model


def outputs_of(class_logits: Tensor, masks: Tensor) -> QueryOutputs:
    """Layers that say class logits "L B Q K+1" and mask logits "L B Q h w": a channel for every mask, a unit vector for its embedding."""
    layers, images, queries = masks.shape[:3]
    units = torch.eye(layers * queries).view(layers, 1, queries, -1).expand(-1, images, -1, -1)
    return QueryOutputs(
        class_logits=class_logits,
        masks=masks.detach(),
        embeddings=units,
        fine=masks.transpose(0, 1).flatten(1, 2),
        features=masks.new_zeros(images, 4, *masks.shape[-2:]),
    )


class GivenPoints:
    """Points that a test chooses: for matching one set an image, for the loss one a target."""

    def __init__(self, matching: Tensor, loss: list[Tensor]) -> None:
        self._matching, self._loss = matching, loss

    def matching(self, image: int) -> Tensor:
        return self._matching[image]

    def loss(self, image: int, logits: Tensor) -> Tensor:
        return self._loss[image].expand(len(logits), -1, -1, -1)

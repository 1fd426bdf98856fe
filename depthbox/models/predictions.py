"""What every model says about an image, whatever it is made of."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["ImagePredictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePredictions:
    """What one image holds, best first; masks are probabilities "N h w" at stride 4 of the network input, boxes its pixels."""

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor

"""A class for every pixel as one graph (`models/traceable.py`)."""

from torch import Tensor, nn

from depthbox.models.dense_head import DenseNetwork

__all__ = ["DenseGraph"]


class DenseGraph(nn.Module):
    """The logits alone, at the size of the images: what depth was learnt with beside the classes is left out where it tells them nothing."""

    def __init__(self, model: DenseNetwork) -> None:
        super().__init__()
        self.model = model
        for name in ("pose_backbone", "pose_head"):
            if hasattr(model, name):
                delattr(model, name)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.model.class_logits(images),)

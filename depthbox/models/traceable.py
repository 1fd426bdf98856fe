"""The whole model as one graph: from images to boxes, scores and masks, with fixed counts and no branch on what is seen.

What eager prediction does with lists (`models/predict.py`) is done here with fixed numbers of candidates, so that a graph of it serves any batch
and any image size: places that hold nothing have score 0.
"""

import copy

from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from depthbox.models.config import InferenceConfig
from depthbox.models.dense_head import DenseNetwork
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.segmenter import Model
from depthbox.models.traceable_dense import DenseGraph
from depthbox.models.traceable_dynamic import DynamicGraph
from depthbox.models.traceable_query import QueryGraph

__all__ = ["outputs_of", "traceable"]


def traceable(model: Model | DenseNetwork, config: InferenceConfig) -> nn.Module:
    """A copy of the model, in float32: images "B 3 H W" in 0..1, H and W multiples of 32, padded with zeros on the right and below -> boxes_xyxy
    "B T 4", scores "B T", labels "B T", masks "B T h w" (probabilities at stride 4), best first; of a class for every pixel logits "B K H W"."""
    plain = _with_plain_padding(copy.deepcopy(model)).float().eval()
    plain.mixed = False
    if isinstance(plain, DenseNetwork):
        return DenseGraph(plain)
    if isinstance(plain, QuerySegmenter):
        return QueryGraph(plain, config)
    return DynamicGraph(plain, config)


def outputs_of(model: Model | DenseNetwork) -> tuple[str, ...]:
    """What `traceable` gives, by name."""
    return ("logits",) if isinstance(model, DenseNetwork) else ("boxes_xyxy", "scores", "labels", "masks")


def _with_plain_padding(model: Model | DenseNetwork) -> Model | DenseNetwork:
    """TensorFlow's "same" padding asks for the size of its input; for the even sizes inside this network it is always the same."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _Padded(child))
    return model


class _Padded(nn.Module):
    def __init__(self, convolution: Conv2dSame) -> None:
        super().__init__()
        # Even sides: ceil(side / s) s = side, so that (k - 1) d + 1 - s is missing, the smaller half before.
        sides = zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
        missing = [max((k - 1) * d + 1 - s, 0) for k, s, d in sides]
        self.padding = [half for m in reversed(missing) for half in (m // 2, m - m // 2)]
        self.convolution = nn.Conv2d(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            dilation=convolution.dilation,  # type: ignore[arg-type]
            groups=convolution.groups,
            bias=convolution.bias is not None,
        )
        self.convolution.load_state_dict(convolution.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, self.padding))

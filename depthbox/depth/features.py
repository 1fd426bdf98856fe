"""What a depth network's decoder sees in an image: the features that label selection measures distances in (METHODS 3.2)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthbox.core.errors import UsageError
from depthbox.depth.builtin import BuiltinDepth
from depthbox.depth.estimator import DepthEstimator
from depthbox.depth.trained import TrainedDepth

__all__ = ["POOLED_HW", "decoder_features"]

POOLED_HW = (4, 8)
_AT_STRIDE_8 = 1
"""The decoder's second step of five, in both networks."""


def decoder_features(estimator: DepthEstimator, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decoder features at stride 8, average-pooled to "C 4 8", and the disparity (h, w), of a photo (u8 "H W 3"), in one pass.

    Raises `UsageError` for an estimator whose network is not ours.
    """
    seen: list[Tensor] = []
    hook = _step_of(estimator).register_forward_hook(lambda module, arguments, output: seen.append(output))
    try:
        (disparity,) = estimator.disparity([image], [""])
    finally:
        hook.remove()
    with torch.inference_mode():
        pooled = F.adaptive_avg_pool2d(seen[-1].float(), POOLED_HW)
    return pooled[0].cpu().numpy(), disparity


def _step_of(estimator: DepthEstimator) -> nn.Module:
    if isinstance(estimator, TrainedDepth):
        return estimator._network.decoder.joins[_AT_STRIDE_8]
    if isinstance(estimator, BuiltinDepth):
        return estimator._loaded[0].ups[_AT_STRIDE_8]
    raise UsageError("depth.source: selection looks into the depth network; allowed are builtin and run:FOLDER")

"""Semantic batches and a network small enough for every test of depth_ssda."""

from collections.abc import Sequence

import torch

from depthbox.core.batch import Batch, Frames, Views
from depthbox.core.shapes import IGNORE
from depthbox.models.config import DenseModelConfig
from depthbox.models.dense_head import DenseNetwork, build_dense
from depthbox.supervision.depth_ssda import DepthSsda

__all__ = ["CLASSES", "dense_batch", "dense_network", "sure_teacher"]

CLASSES = 4
SIZE = (32, 64)


def dense_network(*, multi_task: bool = False) -> DenseNetwork:
    torch.manual_seed(0)
    small = {"backbone": "test_efficientnet", "weights": "none", "pose_backbone": "test_efficientnet", "pose_weights": "none", "width": 8}  # fmt: skip
    return build_dense(DenseModelConfig(**small, multi_task=multi_task), classes=CLASSES)


def dense_batch(words: Sequence[str], *, padded: int = 0, frames: Sequence[bool] = (), seed: int = 0) -> Batch:
    """Images of `words`, the last `padded` columns padding; `frames`: which of them have neighbours."""
    generator = torch.Generator().manual_seed(seed)
    number = len(words)
    images = torch.rand(number, 3, *SIZE, generator=generator)
    disparity = torch.rand(number, 1, *SIZE, generator=generator)
    truth = torch.randint(0, CLASSES, (number, *SIZE), generator=generator)
    valid = torch.ones(number, *SIZE, dtype=torch.bool)
    if padded:
        valid[..., -padded:], disparity[..., -padded:], truth[..., -padded:] = False, torch.nan, IGNORE
    semantic = truth.clone()
    semantic[[i for i, word in enumerate(words) if word == "none"]] = IGNORE
    video = None
    if frames:
        camera = torch.tensor([[0.8, 1.0, 0.5, 0.5]]).repeat(number, 1)
        camera[~torch.tensor(list(frames))] = torch.nan
        shown = torch.stack((images, images.roll(1, -1), images.roll(-1, -1)), 1)
        video = Frames(plain=shown, strong=shown, intrinsics=camera)
    return Batch(
        views=Views(weak=images, strong=images, disparity=disparity, valid=valid),
        instances=(),
        image_ids=tuple(range(10, 10 + number)),
        supervision=tuple(words),
        frames=video,
        semantic=semantic,
        semantic_truth=truth,
    )


@torch.no_grad()
def sure_teacher(built: DepthSsda, label: int, logit: float = 50.0) -> None:
    """The teacher says `label` of everything."""
    classifier = built.mixing.teacher.model.classifier
    classifier.weight.zero_()
    classifier.bias.zero_()
    classifier.bias[label] = logit

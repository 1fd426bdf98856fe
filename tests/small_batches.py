"""A small network and small batches, for tests that run a whole method."""

from collections.abc import Sequence

import torch
from torch import Tensor

from depthbox.core.batch import Batch, Instances, Views
from depthbox.models.config import ModelConfig
from depthbox.models.segmenter import Segmenter, build

__all__ = ["OBJECTS", "ellipses", "small_batch", "small_network"]

# Tests share two cores with others.
torch.set_num_threads(1)

SIZE = (64, 96)
OBJECTS = (((10.0, 8.0, 40.0, 50.0), (50.0, 20.0, 90.0, 60.0), (12.0, 10.0, 30.0, 26.0)), ((30.0, 12.0, 70.0, 40.0),))
"""Boxes of two images."""


def small_network(head: str = "depth_guided", *, seed: int = 3) -> Segmenter:
    torch.manual_seed(seed)
    config = ModelConfig(
        backbone="mobilenetv2_035", weights="none", channels=32, head_depth=1, mask_width=16, mask_head=head
    )
    model = build(config, classes=3)
    torch.nn.init.normal_(model.controller.conv.weight, std=0.1)
    return model


def small_batch(objects: Sequence[Sequence[tuple]] = OBJECTS, *, depth: bool = True, masks: bool = False) -> Batch:
    """Photos of noise with boxes in a checkered colour, an ellipse in each box as its mask."""
    rng = torch.Generator().manual_seed(7)
    images = torch.rand(len(objects), 3, *SIZE, generator=rng) * 0.2
    disparity = torch.rand(len(objects), 1, *SIZE, generator=rng) * 0.01 + 0.3
    instances = []
    for image, (boxes, photo) in enumerate(zip(objects, images, strict=True)):
        xyxy = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
        shapes = ellipses(xyxy)
        for n, shape in enumerate(shapes):
            photo[n % 3][shape] += 0.6
            disparity[image, 0][shape] = 0.5 + 0.1 * n
        instances.append(
            Instances(boxes_xyxy=xyxy, labels=torch.arange(len(xyxy)) % 3, masks=shapes if masks else None)
        )
    disparity[..., :6, :6] = torch.nan
    strong = (images * 1.3).clamp(max=1)
    valid = torch.ones(len(objects), *SIZE, dtype=torch.bool)
    views = Views(weak=images, strong=strong, disparity=disparity if depth else None, valid=valid)
    return Batch(views=views, instances=instances, image_ids=tuple(range(len(objects))))


def ellipses(boxes_xyxy: Tensor) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    x0, y0, x1, y1 = boxes_xyxy[:, :, None, None].unbind(1)
    return ((xs - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((ys - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 < 1

"""A student that has seen the depth of the labelled images alone: where it errs, the labelled images say little (METHODS 3.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from depthbox.core.rng import torch_generator
from depthbox.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from depthbox.models.depth_net import DepthNetwork, builtin_encoder_state
from depthbox.ops.depth import berhu

__all__ = ["small", "student_disparities"]

_BATCH = 4
_PEAK_LR = 1e-3
_BOTTOM = 0.1
"""Share of the rows at the bottom that teaches nothing: in driving frames the car itself."""


def student_disparities(
    photos: np.ndarray, disparities: np.ndarray, labelled: Sequence[int], *, steps: int = 150, seed: int = 0
) -> np.ndarray:
    """What a fresh student, trained on `labelled` for `steps` steps of 4, says of all photos: float32 "N h w" like `disparities`.

    `photos` is u8 "N h w 3" (`small`), sides multiples of 32. The encoder starts from the built-in network's; loss berHu of log(1 + disparity).
    """
    network = _trained(photos, disparities, np.array(labelled), steps, seed).eval()
    with torch.inference_mode():
        found = [_predicted(network, _normalised(photos[i : i + _BATCH])) for i in range(0, len(photos), _BATCH)]
    return torch.cat(found)[:, 0].numpy()


def small(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A photo (u8 "H W 3") at the student's size."""
    return np.array(Image.fromarray(image).resize(size_hw[::-1], Image.Resampling.BILINEAR, reducing_gap=2.0))


def _trained(photos: np.ndarray, disparities: np.ndarray, labelled: np.ndarray, steps: int, seed: int) -> DepthNetwork:
    encoder, state = builtin_encoder_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DepthNetwork(encoder).train()
    network.encoder.load_state_dict(state)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_LR, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_LR, total_steps=steps + 1)
    generator = torch_generator("depth student", seed, len(labelled))
    mask = torch.ones(1, 1, photos.shape[1], 1)
    mask[:, :, photos.shape[1] - round(_BOTTOM * photos.shape[1]) :] = 0
    for _ in range(steps):
        drawn = labelled[torch.randint(len(labelled), (_BATCH,), generator=generator).numpy()]
        images, target = _normalised(photos[drawn]), torch.from_numpy(disparities[drawn]).float()[:, None]
        if torch.rand((), generator=generator) < 0.5:
            images, target = images.flip(-1), target.flip(-1)
        loss = berhu(_predicted(network, images).log1p(), target.log1p(), mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cycle.step()
    return network


def _predicted(network: DepthNetwork, images: Tensor) -> Tensor:
    return F.interpolate(network(images), size=images.shape[-2:], mode="bilinear", align_corners=False)


def _normalised(photos: np.ndarray) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255 - mean) / std

"""Pairs of images become one each: which meet, what of each is seen, what the mixture is taught, how it looks (METHODS 3.3, 3.5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.rng import torch_generator
from depthbox.ops.appearance import blurred, recoloured
from depthbox.ops.mixing import class_mask, depth_mask, half_of_classes, mix, one_hot_truth, pseudo_labels

__all__ = ["Pixels", "believed", "by_classes", "by_depth", "domain_margins", "mixed", "partners", "strong_mixture"]

_JITTERED, _SIGMAS = 0.8, (0.15, 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Images with what is known or believed of each pixel."""

    images: Tensor
    """Float "B 3 H W" in 0..1."""
    labels: Tensor
    """Int64 "B H W", IGNORE where nothing is known."""
    confidence: Tensor
    """Float "B H W": 1 where the label is the truth, 0 where there is none."""
    disparity: Tensor | None
    """Float "B H W" in [0, 1], NaN where unknown."""
    valid: Tensor
    """Bool "B H W", False on padding."""
    told: Tensor
    """Bool "B H W": pixels of images without labels, which only the teacher speaks of."""

    def of(self, places: Sequence[int]) -> "Pixels":
        rows = torch.tensor(list(places), dtype=torch.int64, device=self.images.device)
        disparity = None if self.disparity is None else self.disparity[rows]
        return Pixels(
            images=self.images[rows],
            labels=self.labels[rows],
            confidence=self.confidence[rows],
            disparity=disparity,
            valid=self.valid[rows],
            told=self.told[rows],
        )


def believed(truth: Tensor, probabilities: Tensor, unlabelled: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(confidence, labels) "B H W": the truth's one-hot where there is one, the teacher's `probabilities` "U K H W" of the images `unlabelled`."""
    certain = one_hot_truth(truth, probabilities.shape[1]).to(probabilities.dtype)
    certain[list(unlabelled)] = probabilities
    return pseudo_labels(certain)


def partners(number: int, *, apart: int = 1) -> list[int]:
    """Whom each of `number` images is mixed with: the one `apart` places on, and that one with it (both orders of a pair).

    What is left over in the end pairs up with its neighbour, the last three of an odd number in a ring; a single image only with itself.

    >>> partners(4), partners(8, apart=2), partners(5), partners(6, apart=2), partners(1)
    ([1, 0, 3, 2], [2, 3, 0, 1, 6, 7, 4, 5], [1, 0, 3, 4, 2], [2, 3, 0, 1, 5, 4], [0])
    """
    block, order = 2 * apart, list(range(number))
    whole = number - number % block
    groups = [[start + k, start + k + apart] for start in range(0, whole, block) for k in range(apart)]
    groups += [order[start : start + 2] for start in range(whole, number, 2)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    for group in groups:
        for own, other in zip(group, group[1:] + group[:1], strict=True):
            order[own] = other
    return order


def by_depth(own: Pixels, other: Pixels, *, margin: float | Tensor) -> Tensor:
    """Bool "B H W": what of the own image is in front of the other (DepthMix)."""
    assert own.disparity is not None and other.disparity is not None, "DepthMix needs disparity"
    return depth_mask(own.disparity, other.disparity, margin=margin)


def by_classes(own: Pixels, names: Sequence[tuple[int, ...]]) -> Tensor:
    """Bool "B H W": half of the classes of each own image (ClassMix), drawn by its `names`."""
    chosen = [
        half_of_classes(one, torch_generator("class mix", *name)) for one, name in zip(own.labels, names, strict=True)
    ]
    return torch.stack([class_mask(one, classes) for one, classes in zip(own.labels, chosen, strict=True)])


def mixed(mask: Tensor, own: Pixels, other: Pixels) -> Pixels:
    """Each own image where its mask is true, its partner elsewhere."""
    return Pixels(
        images=mix(mask, own.images, other.images),
        labels=mix(mask, own.labels, other.labels),
        confidence=mix(mask, own.confidence, other.confidence),
        disparity=None,
        valid=mix(mask, own.valid, other.valid),
        told=mix(mask, own.told, other.told),
    )


def domain_margins(margin: float, names: Sequence[tuple[int, ...]], like: Tensor) -> Tensor:
    """`margin` with a sign drawn for each mixture: "B 1 1"."""
    signs = [1 - 2 * torch.randint(2, (), generator=torch_generator("domain mix", *name)) for name in names]
    return margin * torch.stack(signs).to(like).view(-1, 1, 1)


def strong_mixture(images: Tensor, names: Sequence[tuple[int, ...]], *, jitter: float, blur: float) -> Tensor:
    """The strong view of mixtures "B 3 H W", drawn by their `names`: brightness, contrast and saturation by up to `jitter` and hue by a quarter of
    that (with probability 0.8), a blur with probability `blur`."""
    draws = torch.stack([torch.rand(7, generator=torch_generator("mixed view", *name)) for name in names])
    spread = torch.tensor([jitter, jitter, jitter, jitter / 4]) * (2 * draws[:, :4] - 1)
    changes = torch.tensor([1.0, 1.0, 1.0, 0.0]) + spread * (draws[:, 4:5] < _JITTERED)
    sigmas = torch.lerp(torch.tensor(_SIGMAS[0]), torch.tensor(_SIGMAS[1]), draws[:, 5]) * (draws[:, 6] < blur)
    seen = recoloured(images, changes) if jitter else images
    return blurred(seen, sigmas) if blur else seen

"""Depth from video without any depth: whatever depth and motion make the neighbouring frames look like this one (METHODS 3.1; Godard et al. 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule, constant, falling, scaled
from depthbox.models.sde_net import SdeOutputs
from depthbox.supervision.config import SdeConfig
from depthbox.supervision.method import Losses, Teacherless
from depthbox.supervision.parts.photometric_terms import lower_near, photometric_terms, tie_noise

__all__ = ["SelfSupervised"]

TOLD_UNTIL = 0.5
"""`lower_near` falls to 0 over this share of a run: motions that are aligned to a first idea of depth need it for a while."""


class SelfSupervised(Teacherless):
    """`Method` on `Batch.frames`. `frozen` is the pretrained encoder, which `feature_distance` measures from; None without that term.

    `knows_depth`: the student starts from a network that does, so that `lower_near` has nothing to tell it.
    """

    def __init__(self, config: SdeConfig, *, steps: int, frozen: nn.Module | None, knows_depth: bool = False) -> None:
        self.config, self.frozen, self.aligned_from = config, frozen, round(config.aligned_from * steps)
        absent = {"feature_distance": frozen is None, "lower_near": knows_depth or not config.weights.lower_near}
        fading = {"lower_near": falling(TOLD_UNTIL * steps)}
        self.weights: Mapping[str, Schedule] = {
            name: scaled(fading.get(name, constant(1.0)), getattr(config.weights, name))
            for name in config.weights.__slots__
            if not absent.get(name, False)
        }

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses:
        frames = batch.frames
        assert frames is not None, "self-supervision needs frames"
        found: SdeOutputs = student(frames)
        terms, figures = photometric_terms(
            found, frames, self.config, tie_noise(frames, step), direct=step >= self.aligned_from
        )
        if "lower_near" in self.weights:
            terms["lower_near"] = lower_near(found.sigmoids, self.config)
        if self.frozen is not None:
            terms["feature_distance"] = self._feature_distance(found.features, frames.strong[:, 0])
        return Losses(terms=terms, figures=figures)

    def modules(self) -> Mapping[str, nn.Module]:
        return {} if self.frozen is None else {"frozen": self.frozen}

    def _feature_distance(self, features: Tensor, images: Tensor) -> Tensor:
        """Mean over the cells of ||F - F_pretrained||_2 of the deepest features."""
        assert self.frozen is not None
        with torch.no_grad():
            pretrained = self.frozen(images)[-1].float()
        return (features - pretrained).norm(dim=1).mean()

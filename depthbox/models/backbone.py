"""A timm network as a feature pyramid: strides 4 to 32 from the backbone, 8 to 128 from the FPN."""

import copy
import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.errors import InputError, UsageError
from depthbox.models.depthwise import speed_up_strided_depthwise
from depthbox.models.simple_pyramid import SimplePyramid

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "FeaturePyramid", "bare_backbone", "build_backbone"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDES = (4, 8, 16, 32)
_ALTERNATIVES = "mobilenetv2_100, resnet50, swin_tiny_patch4_window7_224 and convnext_tiny have all that is needed"


class Backbone(nn.Module):
    """Features "B C h w" at strides 4, 8, 16, 32 from images "B 3 H W" in 0..1; 16 twice where the last stage is dilated."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        speed_up_strided_depthwise(network)
        info: Any = network.feature_info
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        reductions = list(info.reduction())
        self.picks = [reductions.index(min(stride, max(reductions))) for stride in STRIDES[:3]]
        self.picks.append(reductions.index(32) if 32 in reductions else len(reductions) - 1)
        self.channels = [info.channels()[i] for i in self.picks]
        self.train()
        self.register_buffer("mean", _column(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _column(IMAGENET_STD), persistent=False)

    def train(self, mode: bool = True) -> "Backbone":
        """Batch norms stay as they were pretrained: statistics of a small batch would be noise, and depend on the world size."""
        super().train(mode)
        for norm in (m for m in self.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.eval().requires_grad_(False)
        return self

    def freeze(self, stages: int) -> None:
        """Keep the first `stages` of the four maps as they were pretrained; without a gradient the costliest layers are half as dear."""
        if stages == 0:
            return
        if isinstance(self.network, SimplePyramid):
            self.network.freeze(stages)
            return
        network = copy.deepcopy(self.network).eval()
        features = network(torch.zeros(1, 3, 64, 64))[self.picks[stages - 1]]
        names, parameters = zip(*((n, p) for n, p in network.named_parameters() if p.requires_grad), strict=True)
        reached = torch.autograd.grad(features.sum(), parameters, allow_unused=True)
        frozen = {name for name, gradient in zip(names, reached, strict=True) if gradient is not None}
        for name, parameter in self.network.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.network((images - self.mean) / self.std)
        picked = [features[i] for i in self.picks]
        # Swin and its kin hand out "B h w C".
        return [f.permute(0, 3, 1, 2) for f in picked] if self.channels_last else picked


class FeaturePyramid(nn.Module):
    """FPN (P3..P5) with two more stride-2 convolutions (P6, P7), all with `channels` channels (Lin et al. 2017; FCOS)."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            merged[level - 1] = merged[level - 1] + F.interpolate(
                merged[level], size=merged[level - 1].shape[-2:], mode="nearest"
            )
        levels = [smooth(f) for smooth, f in zip(self.smooth, merged, strict=True)]
        p6 = self.p6(levels[-1])
        return [*levels, p6, self.p7(F.relu(p6))]


def build_backbone(name: str, *, weights: str = "none", dilated: bool = False) -> Backbone:
    """The timm network `name`, its weights from `none`, `hub`, `builtin` (the depth network's encoder), `auto` or a safetensors FILE.

    `dilated`: the last stage stays at stride 16 and looks as far all the same. `auto` is `builtin` where it fits the name and `hub` elsewhere. Pretrained batch norms are frozen (their statistics would depend on the
    world size); without weights they become group norms. Raises `UsageError` for an unknown name, `InputError` for weights that cannot be had.
    """
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.5))
        raise UsageError(
            f"model.backbone={name}: timm knows no such network; near names: {near or 'see timm.list_models()'}"
        )
    if weights == "auto":
        weights = "builtin" if name == _builtin_state()[0] else "hub"
    network = _create(name, weights, dilated=dilated)
    return Backbone(network if weights != "none" else _to_group_norms(network))


def bare_backbone(name: str, *, weights: str, dilated: bool = False) -> Backbone:
    """The architecture alone of a `build_backbone` of these words, to load a trained state into."""
    if weights == "none":
        return build_backbone(name, weights="none", dilated=dilated)
    return Backbone(_create(name, "none", dilated=dilated))


def _create(name: str, weights: str, *, dilated: bool = False) -> nn.Module:
    options: dict = {"features_only": True, "pretrained": weights not in ("none", "builtin")}
    if "mobilenet" in name or "efficientnet" in name:
        options["pad_type"] = "same"
    if "swin" in name:
        options |= {"strict_img_size": False}
    plain = name.startswith("vit_")
    if plain and dilated:
        raise UsageError(f"model.dilated: {name} has one stride and no last stage to dilate; set model.dilated=no")
    if dilated:
        options |= {"output_stride": STRIDES[-2]}
    if plain:
        options |= {"dynamic_img_size": True, "out_indices": (-1,)}
    from_file = weights not in ("none", "builtin", "hub")
    if from_file:
        options["pretrained_cfg_overlay"] = {"file": str(_safetensors(weights))}
    random_state = torch.get_rng_state()
    network = _from_timm(name, weights, options)
    info: Any = network.feature_info
    missing = set(STRIDES[:3] if dilated else STRIDES) - set(info.reduction())
    if missing and not plain:
        raise UsageError(f"model.backbone={name}: has no features at stride {min(missing)}; {_ALTERNATIVES}")
    if from_file:
        _check_loaded(network, _from_timm(name, "none", options | {"pretrained": False}, random_state), name, weights)
    if weights == "builtin":
        network.load_state_dict(_fitting_builtin(name), strict=False)
    return SimplePyramid(network) if plain else network


def _from_timm(name: str, weights: str, options: Mapping, random_state: Tensor | None = None) -> nn.Module:
    """The network; with a `random_state` its initial weights are drawn from that, and the global generator is left alone."""
    # It would list every tensor of a classifier that a feature extractor has no use for.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[], enabled=random_state is not None):
            if random_state is not None:
                torch.set_rng_state(random_state)
            return timm.create_model(name, **options)
    except Exception as error:  # timm raises what its download and state-dict layers raise
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        if weights in ("none", "builtin"):
            raise UsageError(
                f"model.backbone={name}: cannot give a feature pyramid ({cause}); {_ALTERNATIVES}"
            ) from error
        next_step = "give a local safetensors file, model.weights=builtin, or model.weights=none"
        raise InputError(f"model.weights={weights}", name, f"cannot be used: {cause}", next_step) from error


def _check_loaded(network: nn.Module, blank: nn.Module, name: str, weights: str) -> None:
    """timm passes over what a file lacks. `blank` was drawn from the same random state, so what is equal was not loaded."""
    drawn = dict(blank.named_parameters())
    left = [n for n, p in network.named_parameters() if p.ndim > 1 and p.std() > 0 and torch.equal(p, drawn[n])]
    if left:
        cause = f"is not in the file, nor are {len(left) - 1} others of {name}"
        raise InputError(
            weights, left[0], cause, "give the weights of this very network, or set model.backbone to theirs"
        )


def _safetensors(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            path, "", "no such weights file", "give an existing safetensors file, or model.weights=builtin, hub or none"
        )
    if path.suffix != ".safetensors":
        raise InputError(
            path,
            "",
            "weights are read from .safetensors only, because other formats can execute code",
            "convert the file with safetensors.torch.save_file",
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except SafetensorError as error:
        raise InputError(
            path, "", f"not a safetensors file ({error})", "convert the weights with safetensors.torch.save_file"
        ) from error
    return path


def _builtin_state() -> tuple[str, dict[str, Tensor]]:
    from depthbox.models.depth_net import builtin_encoder_state

    return builtin_encoder_state()


def _fitting_builtin(name: str) -> dict[str, Tensor]:
    encoder, state = _builtin_state()
    if encoder != name:
        raise UsageError(
            f"model.weights=builtin holds a {encoder}, not a {name}; set model.backbone={encoder}, or weights=hub, none or a file"
        )
    return state


def _to_group_norms(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _group_norm(child))
        else:
            _to_group_norms(child)
    return module


def _group_norm(norm: nn.BatchNorm2d) -> nn.Module:
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if norm.num_features % g == 0)
    # timm fuses the activation into the norm, so it is kept.
    return nn.Sequential(
        nn.GroupNorm(groups, norm.num_features),
        getattr(norm, "drop", nn.Identity()),
        getattr(norm, "act", nn.Identity()),
    )


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)

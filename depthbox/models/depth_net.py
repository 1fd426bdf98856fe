"""The small depth network: a timm encoder by name, a light U-Net decoder, image -> disparity at stride 2."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthbox.core.errors import InputError

__all__ = ["BUILTIN_WEIGHTS", "DepthNetwork", "NetworkNote", "builtin_encoder_state", "load_network", "save_network"]

BUILTIN_WEIGHTS = Path(__file__).parent / "weights" / "builtin.safetensors"
"""Trained from scratch on rendered scenes; its metadata holds the command that repeats it."""

_NOTE_KEY = "depthbox"
"""One metadata key with sorted JSON: safetensors writes several keys in no fixed order, equal nets are equal bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNote:
    """What a weights file says about itself."""

    encoder: str
    input_short_side: int
    """Pixels of the shorter side at inference, a multiple of 32."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    command: str
    """The command that trained the file."""
    scenes: int
    steps: int
    seed: int
    version: int = 1


class _Up(nn.Module):
    """Upsample x2, join the skip, mix channels (1x1), look around (depthwise 3x3), mix again (1x1)."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.join = _mix(channels_in + channels_skip, channels_out)
        self.around = nn.Sequential(
            nn.Conv2d(channels_out, channels_out, 3, padding=1, groups=channels_out, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            _mix(channels_out, channels_out),
        )

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        deep = F.interpolate(deep, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        joined = self.join(torch.cat([deep, skip], dim=1))
        return joined + self.around(joined)


def _mix(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class DepthNetwork(nn.Module):
    """Normalised RGB "B 3 H W" (sides a multiple of 32) -> disparity "B 1 H/2 W/2" in (0, 1), 1 = nearest.

    The encoder is exactly timm's `features_only` network, so that its weights can start a backbone of that name.
    """

    def __init__(self, encoder: str = "mobilenetv2_100", *, widths: tuple[int, ...] = (112, 64, 48, 32, 16)) -> None:
        super().__init__()
        options: dict[str, Any] = {"pad_type": "same"} if encoder.startswith("mobilenetv2") else {}
        self.encoder = timm.create_model(encoder, features_only=True, pretrained=False, **options)
        channels = self.encoder.feature_info.channels()  # type: ignore[operator,union-attr]
        self.context = _mix(channels[-1], widths[0])
        steps = zip(widths[: len(channels) - 1], channels[-2::-1], widths[1:], strict=False)
        self.ups = nn.ModuleList(_Up(deep, skip, out) for deep, skip, out in steps)
        self.head = nn.Conv2d(widths[len(channels) - 1], 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        *skips, deepest = self.encoder(images)
        x = self.context(deepest)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
        return torch.sigmoid(self.head(x).float())


def save_network(network: DepthNetwork, note: NetworkNote, path: Path) -> None:
    """Write safetensors: matrices and kernels in half precision, norms and biases in single; repeatable bytes."""
    from safetensors.torch import save_file

    state = {
        name: (tensor.half() if tensor.ndim > 1 else tensor.float()).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={_NOTE_KEY: json.dumps(asdict(note), sort_keys=True)})


def load_network(path: Path) -> tuple[DepthNetwork, NetworkNote]:
    """The network in evaluation mode and single precision; InputError when the file is missing or another network's."""
    from safetensors import SafetensorError, safe_open

    retrain = "`depthbox depth train out=FILE` writes such a file"
    try:
        with safe_open(path, framework="pt") as file:
            note = _note((file.metadata() or {}).get(_NOTE_KEY), path)
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise InputError(path, "", f"cannot be read as depth-network weights ({error})", retrain) from error
    network = DepthNetwork(note.encoder)
    state |= {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(path, "", f"does not fit a depth network with encoder {note.encoder}", retrain) from error
    return network.eval(), note


def _note(text: str | None, path: Path) -> NetworkNote:
    if text is None:
        raise InputError(path, "", "carries no depthbox note: not a depth network", "`depthbox depth train out=FILE`")
    content = json.loads(text)
    return NetworkNote(**content | {"mean": tuple(content["mean"]), "std": tuple(content["std"])})


def builtin_encoder_state(weights: Path = BUILTIN_WEIGHTS) -> tuple[str, dict[str, Tensor]]:
    """The encoder's timm name and its weights, named as `timm.create_model(name, features_only=True)` names them."""
    network, note = load_network(weights)
    return note.encoder, dict(network.encoder.state_dict())

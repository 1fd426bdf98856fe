"""A finished `depthbox train sde` as an estimator: depth learnt from one's own video is a `depth.source` like any other."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.depth.builtin import inner_size
from depthbox.depth.estimator import normalised
from depthbox.models.config import SdeModelConfig
from depthbox.models.sde_net import SdeNetwork, input_size, untrained_sde
from depthbox.ops.geometry import depth_from_sigmoid

__all__ = ["SDE_NOTE", "TrainedDepth", "inverse_depth"]

SDE_NOTE = "sde"
"""The key of the weights' metadata: short_side, nearest, farthest."""

_PROCEDURE = b"depthbox-sde-2"
"""Part of the digest: change it whenever resizing, or anything else around the network changes."""

_TRAIN = "`depthbox train sde ... out=FOLDER` writes one"


class TrainedDepth:
    """A `DepthEstimator`; a map has the photo's aspect and the short side that the network was trained at. Single precision, one photo at a time."""

    cached = True

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        """`folder` is a run's, or a weights file. Raises `InputError` where no depth network is in it; the network is loaded at the first image."""
        place = Path(folder)
        self.name, self.device = f"run:{folder}", device
        self._file = place / "model.safetensors" if place.is_dir() else place
        try:
            self.digest = hashlib.sha256(_PROCEDURE + self._file.read_bytes()).hexdigest()
        except OSError as error:
            unfinished = place.is_dir() and (place / "checkpoints").is_dir()
            cause = "the run has not finished" if unfinished else f"no trained model ({error.strerror or error})"
            next_step = "the command of that run goes on with it" if unfinished else _TRAIN
            raise InputError(place, "", cause, next_step) from None
        self._model, self._note = _notes(self._file)

    def disparity(self, images: list[np.ndarray], paths: list[str]) -> list[np.ndarray]:
        return [normalised(self.inverse_depth(image)) for image in images]

    def inverse_depth(self, image: np.ndarray) -> np.ndarray:
        """Float32 (h, w), in one unknown unit for all images: unlike disparity it knows where infinity is."""
        network, note = self._network, self._note
        size = inner_size(image.shape[:2], int(note["short_side"]))
        found = inverse_depth(
            network, image, short_side=int(note["short_side"]), nearest=note["nearest"], farthest=note["farthest"]
        )
        return F.interpolate(found, size=size, mode="bilinear", align_corners=False)[0, 0].cpu().numpy()

    @functools.cached_property
    def _network(self) -> SdeNetwork:
        from safetensors.torch import load_file

        network = untrained_sde(self._model)
        try:
            network.load_state_dict(load_file(self._file))
        except RuntimeError as error:
            raise InputError(self._file, "", f"does not fit its own settings: {error}", _TRAIN) from None
        return network.to(self.device).eval()


@torch.inference_mode()
def inverse_depth(
    network: SdeNetwork, image: np.ndarray, *, short_side: int, nearest: float, farthest: float
) -> torch.Tensor:
    """Inverse depth "1 1 h w" of a photo (u8 "H W 3"), at half the size that the network sees: the mean of what it says of the photo and of its mirror image.

    After the post-processing of Monodepth (arXiv 1609.03677), over the whole width: nothing of one camera is hidden at a border here.
    """
    size = input_size(inner_size(image.shape[:2], short_side), short_side=short_side)
    pixels = torch.tensor(image, device=next(network.parameters()).device).permute(2, 0, 1)[None].float() / 255
    seen = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    sigmoids = network.sigmoids(torch.cat((seen, seen.flip(3))))[0]
    inverse, _ = depth_from_sigmoid(sigmoids, nearest=nearest, farthest=farthest)
    return (inverse[:1] + inverse[1:].flip(3)) / 2


def _notes(file: Path) -> tuple[SdeModelConfig, dict[str, float]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            said = opened.metadata() or {}
    except SafetensorError as error:
        raise InputError(file, "", f"cannot be read ({error})", _TRAIN) from None
    if SDE_NOTE not in said:
        raise InputError(file, "", "is the model of another method, not a depth network", _TRAIN)
    try:
        return vary(SdeModelConfig(), json.loads(said["model"])), json.loads(said[SDE_NOTE])
    except (UsageError, ValueError, KeyError) as error:
        raise InputError(file, "", f"was written by another version ({error})", _TRAIN) from None

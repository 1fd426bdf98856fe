"""`model.init`: what another run's weights give a network, and what they do not."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from depthbox.core.errors import InputError
from depthbox.models.dense_head import DenseNetwork, from_depth_network
from depthbox.train.checkpoint import classes_of, load_model, weights_file

__all__ = ["said_of_transfer", "start_from"]

CLASSIFIERS = {"classify", "classifier", "side_classifier"}
"""What the layers that tell classes apart are called."""


def start_from(model: nn.Module, source: str, *, classes: Sequence[str]) -> None:
    """Copy every tensor whose name and shape fit; the classifier of other `classes` stays new, however many they are. Raises `InputError` where no weight
    of the backbone fits."""
    model.load_state_dict(_fitting(model, source, classes), strict=False)


def said_of_transfer(model: nn.Module, source: str, *, classes: Sequence[str]) -> str:
    """What `source` gives each part of the network, and what begins anew, in one line."""
    taken = _fitting(model, source, classes).keys()
    parts: dict[str, list[bool]] = {}
    for name in model.state_dict():
        parts.setdefault(name.split(".")[0], []).append(name in taken)
    shares = {
        "taken": [part for part, found in parts.items() if all(found)],
        "taken in part": [
            f"{part} ({sum(found)} of {len(found)})" for part, found in parts.items() if 0 < sum(found) < len(found)
        ],
        "new": [part for part, found in parts.items() if not any(found)],
    }
    return f"model.init={source}: " + "; ".join(
        f"{what}: {', '.join(which)}" for what, which in shares.items() if which
    )


def _fitting(model: nn.Module, source: str, classes: Sequence[str]) -> dict[str, Tensor]:
    loaded: Mapping[str, Tensor] = load_model(Path(source))
    known = classes_of(weights_file(Path(source)))
    if known and known != tuple(classes):
        loaded = {name: tensor for name, tensor in loaded.items() if not CLASSIFIERS & set(name.split("."))}
    if isinstance(model, DenseNetwork):
        loaded = from_depth_network(loaded)
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in loaded.items() if name in own and own[name].shape == tensor.shape}
    if not any(name.startswith("backbone.") for name in fitting):
        # The settings of a network lie beside its weights.
        config = getattr(model, "config", None)
        raise InputError(
            source,
            "",
            "shares no backbone weight with this model",
            f"set model.* as in that run (here model.backbone={getattr(config, 'backbone', '')})",
        )
    return fitting

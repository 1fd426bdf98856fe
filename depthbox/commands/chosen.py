"""The words of a command that takes places and options beside settings."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from depthbox.commands.dashboard import found_store
from depthbox.core.config import parse_overrides
from depthbox.core.errors import UsageError

if TYPE_CHECKING:
    from depthbox.inference.opened import TrainedModel

__all__ = ["Store", "chosen_model", "given", "refuse_unused"]

OF_OBJECTS, OF_PIXELS = ("score", "mask_nms", "inference"), ("window",)
"""Settings of one kind of model."""
SETTING = re.compile(r"[A-Za-z_][\w.]*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The tracking store that a model may come from."""

    uri: str = ""


def given(arguments: argparse.Namespace, *options: str) -> tuple[list[str], dict[str, str]]:
    """The places among the words, and the settings: `--out DIR` is `out=DIR`. A place may hold a "=" (s3://bucket?region=...)."""
    places = [word for word in arguments.words if not SETTING.match(word)]
    overrides = parse_overrides([word for word in arguments.words if SETTING.match(word)])
    for name in options:
        value = getattr(arguments, name)
        if value is not None and name in overrides:
            raise UsageError(f"'{name}' is given twice")
        if value is not None:
            overrides[name] = value
    return places, overrides


def chosen_model(place: str, store: Store) -> "TrainedModel":
    """The model at `place`: of this machine's disk, or of the tracking store. Raises `UsageError` where no store is known to look in."""
    from depthbox.inference.opened import open_model
    from depthbox.tracking.models import is_stored

    if not is_stored(place):
        return open_model(place)
    uri, _ = found_store(store.uri)
    if not uri:
        raise UsageError(f"{place}: in which store? give tracking.uri=URI or set MLFLOW_TRACKING_URI")
    return open_model(place, uri)


def refuse_unused(model: "TrainedModel", overrides: Mapping[str, str]) -> None:
    """Raises `UsageError` for a setting that has no effect on this kind of model."""
    unused = OF_OBJECTS if model.dense else OF_PIXELS
    kind = "gives every pixel a class" if model.dense else "finds objects"
    for name in overrides:
        if name.partition(".")[0] in unused:
            raise UsageError(f"{name}= has no effect: {model.name} {kind}; leave it out")

"""The words of a command that takes places and options beside settings."""

import argparse
import re

from depthbox.commands.dashboard import found_store
from depthbox.core.config import parse_overrides
from depthbox.core.errors import UsageError

__all__ = ["given", "store_of"]

SETTING = re.compile(r"[A-Za-z_][\w.]*=")


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


def store_of(uri: str, place: str) -> str:
    """The tracking store that `place` is looked for in; "" where it is no name in a store, or none is known."""
    from depthbox.tracking.models import is_stored

    if not is_stored(place):
        return ""
    store, _ = found_store(uri)
    if not store:
        raise UsageError(f"{place}: in which store? give tracking.uri=URI or set MLFLOW_TRACKING_URI")
    return store

"""How a command answers: words and tables for people, and on request one JSON object as the last line of stdout."""

import json
import math
import sys
from collections.abc import Mapping
from typing import TextIO

__all__ = ["end_with_json", "for_people"]


def for_people(*, as_json: bool) -> TextIO:
    """Where words go: with `--json` stdout is left to the object."""
    return sys.stderr if as_json else sys.stdout


def end_with_json(values: Mapping[str, object]) -> None:
    """Print the object; a number that does not exist (NaN) is null."""
    sys.stderr.flush()
    print(json.dumps(_plain(values), allow_nan=False), flush=True)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value

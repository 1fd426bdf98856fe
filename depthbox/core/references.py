"""Settings that name what another run leaves: "{sde}" stands for a folder that is known only later."""

import re
from collections.abc import Callable
from typing import Any

from depthbox.core.config import flatten, vary

__all__ = ["filled", "references"]

_REFERENCE = re.compile(r"\{(\w+)\}")


def references(config: Any) -> tuple[str, ...]:
    """The names in braces in the settings of a configuration, each once."""
    return tuple(dict.fromkeys(name for value in flatten(config).values() for name in _names(value)))


def filled(config: Any, value_of: Callable[[str], str]) -> Any:
    """The configuration with every name in braces replaced."""
    changes = {}
    for path, value in flatten(config).items():
        new = _replaced(value, value_of)
        if new != value:
            changes[path] = new
    return vary(config, changes)


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return _REFERENCE.findall(value)
    return [name for one in value for name in _names(one)] if isinstance(value, tuple) else []


def _replaced(value: object, value_of: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: value_of(match[1]), value)
    return tuple(_replaced(one, value_of) for one in value) if isinstance(value, tuple) else value

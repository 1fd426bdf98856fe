"""A Python file of `experiments/` that defines one value: loaded by its path, because an installed command has no such folder to import from."""

import importlib.util
from pathlib import Path
from typing import TypeVar

from depthbox.core.errors import InputError

__all__ = ["load_value"]

T = TypeVar("T")


def load_value(file: Path, name: str, kind: type[T], *, example: str) -> T:
    """The value `name` of the file. Raises `InputError` where there is none of that kind."""
    if not file.is_file() or file.suffix != ".py":
        raise InputError(file, "", "there is no such Python file", "give one of experiments/")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise InputError(file, name, f"is no {kind.__module__}.{kind.__name__}", f"write {name} = {example}")
    return value

"""Experiments are frozen dataclasses; a variant of one is `{dotted path: value}`, and so is what MLflow logs.

`vary`, `flatten` and `digest` are the whole language: an ablation row, a Tune sample and a command line override are the same thing.
"""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, replace
from typing import Any

from depthbox.core.errors import UsageError

__all__ = ["added", "digest", "flatten", "parse_overrides", "vary"]


def vary(config: Any, overrides: Mapping[str, object]) -> Any:
    """`config` with the fields at the dotted paths replaced. Pure and loud.

    A text value is read as the field's type, so command line overrides and Python values meet here. Raises `UsageError` naming the
    nearest existing path for an unknown one, and both types for a wrong one.
    """
    for path, value in overrides.items():
        config = _set(config, path.split("."), value, path, config)
    return config


def flatten(config: Any, prefix: str = "") -> dict[str, object]:
    """Dotted path -> plain value, in field order. Tuples stay tuples."""
    if not is_dataclass(config):
        return {prefix: config}
    flat: dict[str, object] = {}
    for f in fields(config):
        flat |= flatten(getattr(config, f.name), f"{prefix}.{f.name}" if prefix else f.name)
    return flat


def added(default: Any) -> Any:
    """A field that came later: while it has its default, no configuration is renamed by it, so finished cells of a table stay finished."""
    return field(default=default, metadata={"added": True})


def digest(config: Any, *, without: Sequence[str] = ()) -> str:
    """Sixteen hex digits that name a configuration; paths that start with one of `without` do not count."""
    unused = tuple(_still_default(config))
    left_out = (*without, *unused)
    flat = {k: v for k, v in flatten(config).items() if not any(k == w or k.startswith(w + ".") for w in left_out)}
    flat["__type__"] = {name: kind for name, kind in _type_names(config).items() if name not in unused}
    return hashlib.sha256(json.dumps(flat, sort_keys=True, default=list).encode()).hexdigest()[:16]


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """`["a.b=c"]` -> `{"a.b": "c"}`; anything without `=` is a usage error, and so is the same path twice."""
    overrides: dict[str, str] = {}
    for word in words:
        path, equals, value = word.partition("=")
        if not equals or not path:
            raise UsageError(f"'{word}' is not an override; write path=value, for example schedule.steps=500")
        if path in overrides:
            raise UsageError(f"'{path}' is given twice")
        overrides[path] = value
    return overrides


def _still_default(config: Any, prefix: str = "") -> Iterator[str]:
    """The paths of `added` fields with their default."""
    for f in fields(config):
        path, value = f"{prefix}{f.name}", getattr(config, f.name)
        if f.metadata.get("added") and value == f.default:
            yield path
        elif is_dataclass(value):
            yield from _still_default(value, f"{path}.")


def _type_names(config: Any) -> dict[str, str]:
    return {
        f.name: type(getattr(config, f.name)).__name__ for f in fields(config) if is_dataclass(getattr(config, f.name))
    }


def _set(config: Any, names: list[str], value: object, path: str, root: Any) -> Any:
    name, rest = names[0], names[1:]
    if name not in ({f.name for f in fields(config)} if is_dataclass(config) else ()):
        raise UsageError(_unknown(path, root))
    old = getattr(config, name)
    if rest:
        return replace(config, **{name: _set(old, rest, value, path, root)})
    if is_dataclass(old) and not is_dataclass(value):
        inside = ", ".join(f"{path}.{f.name}" for f in fields(old))
        raise UsageError(f"{path} is a group; set one of {inside}")
    hint = typing.get_type_hints(type(config))[name]
    return replace(config, **{name: _read(value, hint, path)})


def _unknown(path: str, root: Any) -> str:
    known = list(flatten(root))
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.5)
    last = path.rsplit(".", 1)[-1]
    near += [k for k in known if k.rsplit(".", 1)[-1] == last and k not in near]
    return f"unknown setting '{path}'" + (
        f"; did you mean {' or '.join(near[:3])}?" if near else f"; there are: {', '.join(known)}"
    )


def _read(value: object, hint: Any, path: str) -> object:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    allowed = args if origin in (typing.Union, types.UnionType) else (hint,)
    if is_dataclass(value):
        if type(value) not in allowed:
            raise UsageError(f"{path}: takes {' or '.join(a.__name__ for a in allowed)}, got {_type_of(value)}")
        return value
    if type(None) in allowed and str(value).lower() == "none":
        return None
    hint = next(a for a in allowed if a is not type(None))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return _read_literal(value, args, path)
    return _read_tuple(value, args, path) if origin is tuple else _read_scalar(value, hint, path)


def _read_literal(value: object, args: tuple, path: str) -> object:
    for choice in args:
        if value == choice or value == str(choice):
            return choice
    raise UsageError(f"{path}={value!r}: allowed are {', '.join(map(str, args))}")


def _read_tuple(value: object, args: tuple, path: str) -> tuple:
    if isinstance(value, str):
        text = value.strip()
        # Brackets around the whole alone: one at the end may belong to a pattern such as seq_[0-5].
        inner = text[1:-1] if text[:1] + text[-1:] in ("()", "[]") else text
        value = [v.strip() for v in inner.split(",") if v.strip()]
    free = args[-1] is Ellipsis
    if not isinstance(value, (tuple, list)) or (not free and len(value) != len(args)):
        raise UsageError(f"{path}={value!r}: takes {'' if free else f'{len(args)} '}values with commas between")
    return tuple(_read(v, hint, path) for v, hint in zip(value, args[:1] * len(value) if free else args, strict=True))


def _read_scalar(value: object, hint: type, path: str) -> object:
    try:
        if hint is bool and isinstance(value, str):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[value.lower()]
        if hint is int and isinstance(value, str):
            return _whole(value)
        if hint is float and isinstance(value, (str, int)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"{path}={value!r}: takes {hint.__name__}") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{path}={value!r}: takes {hint.__name__}, got {_type_of(value)}")
    return value


def _whole(text: str) -> int:
    """Digits exactly (a seed may have more of them than a float), else a float without a fraction such as 1e3."""
    try:
        return int(text)
    except ValueError:
        if not float(text).is_integer():
            raise
        return int(float(text))


def _type_of(value: object) -> str:
    return (value if isinstance(value, type) else type(value)).__name__

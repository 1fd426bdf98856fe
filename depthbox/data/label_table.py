"""What the pixels of label maps mean: a table from ids and colours to classes, kept as JSON, built in for the known data sets."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.core.errors import InputError, UsageError, few
from depthbox.core.shapes import IGNORE
from depthbox.data.decode import shown

__all__ = ["BUILT_IN", "LabelTable", "read_table", "source_table"]

_FOLDER = Path(__file__).parent / "label_tables"
BUILT_IN = tuple(sorted(file.stem for file in _FOLDER.glob("*.json")))

_FORM = 'write {"ids": {"0": "road", "7": "car", "11": null}}, or "colours": {"128,64,128": "road"}; null is not learnt and not scored'
_MOST = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """Id or colour of a pixel -> class 0..K-1, or IGNORE. Several may be one class."""

    name: str
    class_names: tuple[str, ...]
    ids: Mapping[int, int]
    colours: Mapping[tuple[int, int, int], int]

    def renumbered(self, class_names: Sequence[str]) -> "LabelTable":
        """The same pixels as classes of `class_names`, by name; every other class becomes IGNORE."""
        place = {name: number for number, name in enumerate(class_names)}
        new = {old: place.get(name, IGNORE) for old, name in enumerate(self.class_names)} | {IGNORE: IGNORE}
        return replace(
            self,
            class_names=tuple(class_names),
            ids={key: new[value] for key, value in self.ids.items()},
            colours={key: new[value] for key, value in self.colours.items()},
        )


def read_table(named: str, root: Path) -> LabelTable:
    """A built-in table by its name, or a JSON file below `root` or from the current folder. Raises `UsageError`, `InputError` in words.

    The file: `{"ids": {"7": "road"}, "colours": {"128,64,128": "road"}, "classes": ["road"]}`: at least one of the first two; null for pixels that
    are neither learnt nor scored, and so is the id 255 unless the file says what it is; `classes` gives an order, else it is that of the table.
    `semantic` may stand for `ids`.
    """
    if not named:
        raise UsageError(f"data.table= is needed: {', '.join(BUILT_IN)}, or a JSON file")
    if named in BUILT_IN:
        return _parsed(_FOLDER / f"{named}.json", named)
    file = next((base / Path(named).expanduser() for base in (root, Path.cwd()) if (base / named).is_file()), None)
    if file is None:
        near = difflib.get_close_matches(named, BUILT_IN, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        cause = "is no built-in table and no file"
        raise InputError(named, "", cause, f"{hint}built in are {', '.join(BUILT_IN)}; or {_FORM}")
    table = _parsed(file, file.name)
    # Almost every tool writes 255 for "nobody knows"; the data sets that are built in do not.
    return replace(table, ids={IGNORE: IGNORE} | dict(table.ids)) if table.ids else table


def source_table(source: LabelTable, target: LabelTable, *, shared: bool) -> tuple[LabelTable, LabelTable]:
    """Both tables with the same classes in the target's order: all of them, or where `shared` those that both have. Raises `InputError`."""
    ours, theirs = target.class_names, source.class_names
    common = [name for name in ours if name in theirs]
    if not shared and set(ours) != set(theirs):
        rest = [f"{few([n for n in a if n not in b])} only in {where}" for a, b, where in ((ours, theirs, target.name), (theirs, ours, source.name)) if set(a) - set(b)]  # fmt: skip
        cause = f"the classes of the source are not those of the target: {'; '.join(rest)}"
        raise InputError(
            source.name, "", cause, "data.classes=shared learns those of both; or give a table with the same names"
        )
    if len(common) < 2:
        cause = f"shares {len(common)} class names with {target.name}"
        raise InputError(source.name, "", cause, f"name classes alike; {target.name} has {few(ours)}")
    return source.renumbered(common), target.renumbered(common)


def _parsed(file: Path, name: str) -> LabelTable:
    try:
        said = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(file, "", f"cannot be read as JSON ({str(error)[:80]})", _FORM) from None
    if not isinstance(said, dict):
        raise InputError(file, "", f"is {shown(said)}", _FORM)
    ids = _entries(file, "ids", said.get("ids", said.get("semantic", {})))
    colours = _entries(file, "colours", said.get("colours", {}))
    classes = _classes(file, said.get("classes"), [*ids.values(), *colours.values()])
    place: dict[str | None, int] = {one: number for number, one in enumerate(classes)} | {None: IGNORE}
    return LabelTable(
        name=name,
        class_names=classes,
        ids={_id(file, key): place[value] for key, value in ids.items()},
        colours={_colour(file, key): place[value] for key, value in colours.items()},
    )


def _entries(file: Path, key: str, value: object) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise InputError(file, key, f"is {shown(value)}", _FORM)
    for code, name in value.items():
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise InputError(file, f"{key} {code}", f"is {shown(name)}, not the name of a class, or null", _FORM)
    return value


def _classes(file: Path, said: object, used: Sequence[str | None]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in used if name is not None))
    if not names or len(names) > _MOST:
        raise InputError(file, "", f"names {len(names)} classes; allowed are 1 to {_MOST}", _FORM)
    if said is None:
        return names
    if not isinstance(said, list) or sorted(map(str, said)) != sorted(names):
        cause = f"lists {shown(said)}, and the table names {few(names)}"
        raise InputError(file, "classes", cause, "list every class of the table once, or leave it out")
    return tuple(map(str, said))


def _id(file: Path, key: str) -> int:
    if not key.isdecimal() or len(key) > 5 or int(key) > 65535:
        raise InputError(file, f"ids {shown(key)}", "is no id", "allowed are whole numbers from 0 to 65535")
    return int(key)


def _colour(file: Path, key: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in key.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 4 and int(part) < 256 for part in parts):
        raise InputError(
            file, f"colours {shown(key)}", "is no colour", "write red,green,blue from 0 to 255: '128,64,128'"
        )
    red, green, blue = map(int, parts)
    return red, green, blue

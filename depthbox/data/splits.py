"""Which images of a data set are labelled: drawn by (percent, seed), kept as text with one image a line, read from text or a list in a JSON."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from depthbox.core.errors import InputError, UsageError, few
from depthbox.core.rng import published_order
from depthbox.data.decode import shown
from depthbox.data.schema import CocoData
from depthbox.data.semantic import SemanticData

__all__ = ["drawn_images", "named_images", "path_ends", "photo_names", "write_split"]

FORM = "a split is a text with one image a line (its id, or the name of its photo), or a list in a JSON, FILE:KEY"


def drawn_images(data: CocoData | SemanticData, *, percent: float, seed: int) -> tuple[int, ...]:
    """The image ids of `percent` % of a data set, at least one, ascending. More percent of one seed hold fewer percent of it.

    Drawn as published: the first places of `core.rng.published_order`, in the order of the records.
    """
    if not 0 < percent <= 100:
        raise UsageError(f"percent={percent:g}: allowed is above 0, up to 100")
    ids = [record.image_id for record in data.records]
    count = max(1, round(len(ids) * percent / 100))
    return tuple(sorted(ids[place] for place in published_order(len(ids), seed=seed)[:count]))


def write_split(file: Path, data: CocoData | SemanticData, ids: Sequence[int]) -> None:
    """One image a line: its id; the shortest name that means its photo alone where the ids are only places in a folder.

    Raises `InputError` where another split is there.
    """
    lines = list(map(str, ids))
    if isinstance(data, SemanticData) or os.path.isdir(data.source):
        photos = {record.image_id: Path(record.path) for record in data.records}
        often = Counter(name for photo in photos.values() for name in _names(photo))
        lines = [_shortest(photos[number], often) for number in ids]
    text = "\n".join(lines) + "\n"
    try:
        if file.exists() and file.read_text() != text:
            raise InputError(file, "", "holds something else", "give another out=, or remove it")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    except (OSError, UnicodeDecodeError) as error:
        cause = f"cannot be written ({getattr(error, 'strerror', None) or error})"
        raise InputError(file, "", cause, "give another out=") from None


def _shortest(photo: Path, often: Counter[str]) -> str:
    """The shortest of its names that means this photo alone."""
    return min(
        (name for name in _names(photo) if often[name] == 1), key=lambda name: (len(name), name), default=str(photo)
    )


class Photo(Protocol):
    """What a record of any data set says of its photo."""

    @property
    def image_id(self) -> int: ...
    @property
    def path(self) -> str: ...


def named_images(spec: str, root: Path, data: CocoData | SemanticData, *, names_first: bool = False) -> tuple[int, ...]:
    """The image ids of `data` that FILE or FILE:KEY names, ascending; FILE is below `root`, or else from the current folder.

    A photo is named by its id, or by the end of its path (its name, or from any folder on), with or without the ending. Digits mean an id; in a
    list where some have zeros before them, or with `names_first` (where ids are but places), the photo of that name if there is one.

    Raises `InputError` for a file or key that is not there, an empty list, an image named twice or not in `data`.
    """
    file, key = _place(spec, root)
    names = _listed(file, key) if key or file.suffix.lower() == ".json" else _lines(file)
    if not names:
        raise InputError(file, key, "names no image", FORM)
    ids = _known(names, data, file, key, names_first=names_first)
    twice = [number for number, times in Counter(ids).items() if times > 1]
    if twice:
        raise InputError(file, key, f"names {len(twice)} images twice: {few(twice)}", "name each image once")
    return tuple(sorted(ids))


def _place(spec: str, root: Path) -> tuple[Path, str]:
    """The file, below `root` or else from the current folder, and the key behind its last colon; a file may have a colon in its name."""
    name, colon, key = spec.rpartition(":")
    forms = [(spec, "")] + ([(name, key)] if colon and name else [])
    for base in (root, Path.cwd()):
        for file, of in forms:
            if (base / Path(file).expanduser()).is_file():
                return base / Path(file).expanduser(), of
    return root / Path(forms[-1][0]).expanduser(), forms[-1][1]


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(file, "", "not UTF-8", FORM) from None
    except (OSError, ValueError) as error:
        cause = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise InputError(
            file, "", cause, "give a path below data.root or from here; `depthbox data split` writes a split"
        ) from None


def _lines(file: Path) -> list[str]:
    lines = [line.strip() for line in _text(file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _listed(file: Path, key: str) -> list[str]:
    """The entries of one list of a JSON object, or of a JSON that is a list."""
    text = _text(file)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(file, "", f"not JSON ({str(error)[:80]})", FORM) from None
    if isinstance(said, dict):
        keys = [name for name, value in said.items() if isinstance(value, list)]
        if key not in keys:
            cause = f"has no list {shown(key)}" if key else "holds several lists"
            raise InputError(file, "", cause, f"it has {', '.join(keys) or 'no list at all'}")
        said = said[key]
    elif key:
        raise InputError(file, "", f"has no list {shown(key)}", "it is a list itself: give FILE without a key")
    for place, entry in enumerate(said if isinstance(said, list) else [said]):
        if not isinstance(said, list) or type(entry) not in (int, str):
            raise InputError(file, f"{key}[{place}]", f"is {shown(entry)}", "allowed: an image id or a photo's name")
    return [str(entry).strip() for entry in said]


def _known(names: list[str], data: CocoData | SemanticData, file: Path, key: str, *, names_first: bool) -> list[int]:
    ids = {record.image_id for record in data.records}
    numbers = [int(name) if name.removeprefix("-").isdecimal() and len(name) < 20 else None for name in names]
    # An id is written without zeros before it: a list with 000001 in it is likelier of names, 100000 too.
    names_first |= any(number is not None and str(number) != name for name, number in zip(names, numbers, strict=True))
    named = _by_name(data.records) if names_first or None in numbers else {}
    found = [
        named.get(name, number) if names_first or number is None else number
        for name, number in zip(names, numbers, strict=True)
    ]
    unknown = [ascii(name)[1:-1][:60] for name, number in zip(names, found, strict=True) if number not in ids]
    if unknown:
        cause = f"{len(unknown)} of {len(names)} images are not in {data.source}: {few(unknown)}"
        raise InputError(file, key, cause, "allowed: image ids of those annotations, or names of their photos")
    return [number for number in found if number is not None]


def _by_name(records: Sequence[Photo]) -> dict[str, int]:
    """What names one photo -> its image id."""
    return {name: records[place].image_id for name, place in photo_names([r.path for r in records]).items()}


def photo_names(paths: Sequence[str]) -> dict[str, int]:
    """The end of a photo's path, with and without the ending -> place among the paths, where it means one photo."""
    names = [(name, place) for place, path in enumerate(paths) for name in _names(Path(path))]
    often = Counter(name for name, _ in names)
    return {name: place for name, place in names if often[name] == 1}


def _names(photo: Path) -> set[str]:
    """The ends of its path, with and without the ending of its name."""
    ends = path_ends(photo)
    return {*ends, *(end.removesuffix(photo.suffix) for end in ends)}


def path_ends(photo: Path) -> list[str]:
    """
    >>> path_ends(Path("a/b/c.png"))
    ['a/b/c.png', 'b/c.png', 'c.png']
    """
    whole = photo.as_posix()
    return [whole, *(whole[place + 1 :] for place, sign in enumerate(whole) if sign == "/")]

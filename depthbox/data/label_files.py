"""Which label map belongs to which photo: by what the wildcards of two patterns stand for, or by place and name in two folders."""

import glob
import itertools
import os
import re
from pathlib import Path

from depthbox.core.errors import InputError, UsageError

__all__ = ["PHOTOS", "matched_files", "paired_files"]

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
_KINDS = re.compile(r"(_leftImg8bit|_gt(Fine|Coarse)_labelIds|_L)$")
_LABEL_IDS = "_labelIds.png"
_WILDCARDS = re.compile(r"(?P<deep>\*\*/)|(?P<star>\*+)|(?P<one>\?)|(?P<set>\[[^\]]+\])|(?P<plain>.)", re.DOTALL)


def paired_files(root: Path, *, images: str, labels: str, name: str) -> tuple[list[tuple[str, str, str]], int]:
    """(key, photo, label map or "") of every photo in the order of keys, and how many label maps have no photo.

    Raises `UsageError` where no photos are named, `InputError` where there are none, two have one key, or no label map belongs to any.
    """
    if not images:
        raise UsageError(
            f"{name}.images= is needed: a folder, or a pattern such as 'seq_*/frame_*.jpg'; paths below {root}"
        )
    if labels == images:
        raise UsageError(
            f"{name}.images= and {name}.labels= are the same; where both lie in one folder give two patterns, such as "
            "'DIR/frame_*.jpg' and 'DIR/semantic_*.png'"
        )
    photos = matched_files(root, images, name=f"{name}.images")
    maps = matched_files(root, labels, name=f"{name}.labels") if labels else {}
    rows = [(key, path, maps.get(key, "")) for key, path in sorted(photos.items(), key=lambda item: _natural(item[0]))]
    if labels and not any(label for _, _, label in rows):
        one, other = next(iter(photos)), next(iter(maps))
        cause = f"no label map belongs to a photo: photos are like '{one}', label maps like '{other}'"
        raise InputError(
            root / labels, "", cause, "the wildcards of both patterns must stand for the same text, or the names agree"
        )
    return rows, len(maps.keys() - photos.keys())


def matched_files(root: Path, pattern: str, *, name: str) -> dict[str, str]:
    """Key -> absolute path of the pictures below a folder, or that match a pattern."""
    wanted = os.path.expanduser(pattern)
    folder = root / wanted
    found = _in_folder(folder) if folder.is_dir() else _by_pattern(root, wanted)
    if not found:
        exists = folder.is_dir() or folder.exists()
        cause = (
            f"holds no picture ({', '.join(PHOTOS)})" if exists else "there is no such folder, and no picture matches"
        )
        raise InputError(folder, "", cause, f"give {name}=FOLDER, or a pattern such as '{name}=seq_*/NAME_*.png'")
    keys: dict[str, str] = {}
    for key, path in found:
        if key in keys:
            cause = f"and {os.path.basename(path)} have the same key '{key}'"
            raise InputError(keys[key], "", cause, f"give {name}= a pattern that takes one of them, such as '*.png'")
        keys[key] = path
    return keys


def _in_folder(folder: Path) -> list[tuple[str, str]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS and path.is_file())
    # Cityscapes keeps four files a photo in one folder.
    files = [path for path in files if path.name.endswith(_LABEL_IDS)] or files
    return [(_KINDS.sub("", path.relative_to(folder).with_suffix("").as_posix()), str(path)) for path in files]


def _by_pattern(root: Path, pattern: str) -> list[tuple[str, str]]:
    expression = re.compile(_expression(pattern))
    out = []
    for path in sorted(glob.glob(pattern, root_dir=root, recursive=True)):
        whole, match = root / path, expression.fullmatch(path)
        if match and whole.suffix.lower() in PHOTOS and whole.is_file():
            parts = [part for part in match.groups() if part is not None]
            last = os.path.splitext(parts[-1])[0] if parts and parts[-1].lower().endswith(PHOTOS) else None
            key = "/".join([*parts[:-1], last] if last is not None else parts) or whole.stem
            out.append((_KINDS.sub("", key), str(whole)))
    return out


def _expression(pattern: str) -> str:
    """The regular expression of a glob pattern, with a group for every run of wildcards; the ending stands for no part of a name.

    >>> _expression("seq_[01]/f_??.*")
    'seq_([01])/f_([^/][^/])\\\\.[^./]*'
    """
    texts = {"deep": "(?:[^/]+/)*", "star": "[^/]*", "one": "[^/]"}
    stem, ending = (pattern[:-2], r"\.[^./]*") if pattern.endswith(".*") else (pattern, "")
    out = []
    for wild, run in itertools.groupby(_WILDCARDS.finditer(stem), key=lambda match: match.lastgroup != "plain"):
        if wild:
            out.append("(" + "".join(texts.get(str(one.lastgroup)) or _set(one[0]) for one in run) + ")")
        else:
            out.append(re.escape("".join(one[0] for one in run)))
    return "".join(out) + ending


def _set(text: str) -> str:
    inner = text[1:-1].replace("\\", "\\\\")
    return "[" + ("^" + inner[1:] if inner.startswith("!") else inner) + "]"


def _natural(key: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", key)]

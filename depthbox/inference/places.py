"""Words of the command line -> photos: files, folders, patterns, folders of an object store."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.core.remote import is_remote
from depthbox.data.fetch import DataCopy, local_copy
from depthbox.depth.cache import default_cache_folder
from depthbox.inference.photos import Photo
from depthbox.train.inputs import files_of

__all__ = ["Photos", "found_photos", "local_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    photos: tuple[Photo, ...]
    """By name; ids count from 1."""
    copies: tuple[DataCopy, ...]
    """What lies in an object store, and where each machine keeps it."""


def found_photos(words: Sequence[str]) -> Photos:
    """Each photo once. Names are relative to the folder that holds them all. Raises `InputError` for a word that names none."""
    copies, paths = [], []
    for word in words:
        folder, copy = local_folder(word)
        copies += [copy] if copy else []
        if os.path.isfile(folder):
            paths.append(os.path.abspath(folder))
        else:
            paths += files_of(folder, Path.cwd(), name="PHOTOS")
    unique = sorted(set(paths))
    base = os.path.commonpath([os.path.dirname(path) for path in unique])
    photos = [
        Photo(image_id=i, name=Path(os.path.relpath(path, base)).as_posix(), path=path)
        for i, path in enumerate(unique, start=1)
    ]
    return Photos(photos=tuple(photos), copies=tuple(copies))


def local_folder(place: str) -> tuple[str, DataCopy | None]:
    """A folder on this machine: `place` itself, or the copy of one in an object store."""
    if not is_remote(place):
        return str(Path(place).expanduser()), None
    copy = local_copy(place, default_cache_folder())
    if not os.path.isdir(copy.folder):
        raise InputError(place, "", "is no folder of photos", "give s3://bucket/folder")
    return copy.folder, copy

"""`data.root=s3://...`: every machine keeps a copy of the folder; whatever reads photos, annotations or maps reads plain files.

A training run reads each photo many times, an object store charges and waits each time; so the folder is copied once a
machine, and later only what has changed.
"""

import functools
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.core.remote import RemoteFolder

__all__ = ["DataCopy", "local_copy"]

THREADS = 16
"""An object store answers each request slowly and many at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCopy:
    """Where the copy of `uri` is on every machine, and what it must hold to be taken as it is."""

    uri: str
    folder: str
    listing: str
    """Digest of names and sizes, as the driver saw them."""

    def ensure(self) -> None:
        """Make the copy on this machine unless it is there; one process a machine copies, the others wait."""
        _ensure(self)

    @property
    def _note(self) -> Path:
        return Path(f"{self.folder}.complete")


def local_copy(uri: str, cache: Path) -> DataCopy:
    """The copy of `uri` below `cache`, brought up to date here. Raises `InputError` where nothing is at `uri`."""
    sizes = RemoteFolder.at(uri).sizes()
    if not sizes:
        raise InputError(
            uri.partition("?")[0], "", "holds no file", "data.root names a folder such as s3://bucket/photos"
        )
    listing = hashlib.sha256(json.dumps(sorted(sizes.items())).encode()).hexdigest()
    folder = cache / "data" / hashlib.sha256(uri.encode()).hexdigest()[:16]
    copy = DataCopy(uri=uri, folder=str(folder.absolute()), listing=listing)
    copy.ensure()
    return copy


@functools.lru_cache(maxsize=8)
def _ensure(copy: DataCopy) -> None:
    from filelock import FileLock

    note, folder = copy._note, Path(copy.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{copy.folder}.lock"):
        if note.is_file() and note.read_text() == copy.listing:
            return
        remote = RemoteFolder.at(copy.uri)
        sizes = remote.sizes()
        missing = [name for name, size in sizes.items() if _size(folder / name) != size]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: remote.get(name, folder / name), missing))
        note.write_text(copy.listing)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1

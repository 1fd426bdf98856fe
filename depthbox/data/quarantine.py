"""Rows that cannot be used are set aside, one by one and by name; too many of them end the run."""

import contextlib
import fcntl
import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage

__all__ = ["DecodeGuard", "Quarantine", "share_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A row that was set aside."""

    path: str
    reason: str


def share_error(rows_in: int, quarantined: Sequence[Quarantine], *, allowed_share: float) -> InputError | None:
    """The error to raise when more than `allowed_share` (0..1) of `rows_in` rows were set aside, else None."""
    if not rows_in or len(quarantined) <= allowed_share * rows_in:
        return None
    first = quarantined[0]
    cause = (
        f"{len(quarantined)} of {rows_in} images cannot be used ({len(quarantined) / rows_in:.1%}, "
        f"allowed {allowed_share:.1%}); this one: {first.reason}"
    )
    return InputError(first.path, "", cause, "repair or remove them (depthbox data validate lists them all)")


class DecodeGuard:
    """Remembers, across processes, which image was being decoded when a process died.

    `with guard.watching(path): decode(path)`. A marker file is created and locked before and removed afterwards; the
    kernel drops the lock of a dead process, so a marker that nobody locks is a death. After `tries` deaths `watching`
    raises BadImage. A decode that ends, well or with an exception, forgives the deaths before it: a worker killed from
    outside is no fault of its image. Two file operations a decode; safe for any number of processes and threads of one
    machine, and across machines where the file system carries flock. Deleting the folder forgets everything.
    """

    def __init__(self, folder: str | Path, *, tries: int = 3) -> None:
        self.folder, self.tries = os.path.abspath(folder), tries
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise InputError(self.folder, "", f"cannot be created ({error.strerror})", "name another folder") from None

    @contextlib.contextmanager
    def watching(self, path: str | Path) -> Iterator[None]:
        key = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
        dead: list[str] = []
        for slot in itertools.count():
            marker = os.path.join(self.folder, f"{key}.{slot}")
            try:
                held = os.open(marker, os.O_CREAT | os.O_EXCL | os.O_RDWR)
                break
            except FileExistsError:
                dead += [marker] if _abandoned(marker) else []
            except OSError:  # disk full, folder gone: an unguarded decode is better than none
                held = None
                break
            if len(dead) >= self.tries:
                dead = _still_abandoned(dead)
            if len(dead) >= self.tries:
                raise BadImage(path, f"killed its decoder {len(dead)} times (remembered in {self.folder})")
        try:
            if held is not None:
                _lock(held, fcntl.LOCK_EX)
            yield
        finally:
            if held is not None:
                for spent in (marker, *dead):
                    with contextlib.suppress(OSError):
                        os.unlink(spent)
                os.close(held)


def _still_abandoned(markers: list[str]) -> list[str]:
    """A living decoder is unlocked for some microseconds after it made its marker: look twice before condemning."""
    time.sleep(0.05)
    return [marker for marker in markers if _abandoned(marker)]


def _abandoned(marker: str) -> bool:
    """Nobody holds the marker's lock, so whoever made it has died."""
    try:
        probe = os.open(marker, os.O_RDWR)
    except OSError:  # removed meanwhile: its decode has ended
        return False
    try:
        return _lock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(probe)


def _lock(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: count markers as deaths, or a killer image would loop for ever
        return True
    return True

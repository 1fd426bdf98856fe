"""A sweep's folder belongs to one search, and to one process at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from depthbox.core.config import flatten
from depthbox.core.errors import InputError, UsageError
from depthbox.tracking.words import redacted
from depthbox.tune.space import Search

__all__ = ["claimed"]


@contextmanager
def claimed(search: Search, out: Path) -> Iterator[None]:
    """`out` is this search's, and this process's inside the block; a killed process leaves no claim.

    Raises `UsageError` where another search or process has it, `InputError` where it cannot be written.
    """
    import filelock

    lock = filelock.FileLock(out / ".sweep.lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _write_record(search, out)
    except filelock.Timeout:
        raise UsageError(f"out={out}: another process runs this sweep; wait for it, or give another out=") from None
    except OSError as error:
        cause = f"cannot be used as the sweep's folder ({error.strerror})"
        raise InputError(out, "", cause, "give another out=") from error
    try:
        yield
    finally:
        lock.release()


def _write_record(search: Search, out: Path) -> None:
    record = out / "sweep.json"
    if record.exists() and json.loads(record.read_text())["digest"] != search.digest:
        raise UsageError(f"out={out} holds another sweep. Give another out=, or remove that folder")
    space = {path: repr(domain) for path, domain in search.space.items()}
    base = flatten(search.base) | {"tracking.uri": redacted(search.base.tracking.uri)}
    record.write_text(json.dumps({"digest": search.digest, "space": space, "base": base}, indent=1))

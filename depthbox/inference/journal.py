"""What of a long job is done: one line a photo, written at once, so that a kill costs only the photos under way."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from depthbox.core.errors import InputError, UsageError

__all__ = ["Journal"]


class Journal:
    """A file of JSON lines, the first naming the job. Rows with `bad` are photos that were set aside: they are tried again by the next process."""

    def __init__(self, file: Path, *, job: Mapping[str, object], remedy: str) -> None:
        """Raises `UsageError` where the file is of another job (`remedy` says what to do), `InputError` where it cannot be written."""
        self.file = file
        self.rows: dict[str, dict] = {}
        """By key, of those that are done."""
        head = json.dumps({"job": dict(job)}, sort_keys=True)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _alone(file)
            lines = file.read_bytes().split(b"\n") if file.exists() else []
            whole = [line.decode() for line in lines[:-1]]  # what follows the last line end was torn by a kill
            if whole and whole[0] != head:
                raise UsageError(
                    f"{file}: {_difference(json.loads(whole[0])['job'], json.loads(head)['job'])}; {remedy}"
                )
            rows = [json.loads(line) for line in whole[1:]]
            self.rows = {row["key"]: row for row in rows if not row.get("bad")}
            kept = [head, *(json.dumps(row) for row in self.rows.values())]
            part = file.with_name(f".{file.name}.part")
            part.write_text("".join(f"{line}\n" for line in kept))
            os.replace(part, file)
            self._stream = file.open("a")
        except OSError as error:
            raise InputError(file, "", f"cannot be written ({error.strerror})", "give another place") from None

    def add(self, key: str, row: Mapping[str, object]) -> None:
        whole = {"key": key, **row}
        self._stream.write(json.dumps(whole) + "\n")
        self._stream.flush()
        self.rows[key] = whole

    def close(self) -> None:
        self._stream.close()
        self._lock.release()


def _alone(file: Path) -> FileLock:
    lock = FileLock(file.with_name(f".{file.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(file, "", "another process is at work here", "wait, or give another place") from None
    return lock


def _difference(old: Mapping, new: Mapping) -> str:
    changed = [f"{key} ({old.get(key)} there, {value} here)" for key, value in new.items() if old.get(key) != value]
    return f"holds the work of another job: {'; '.join(changed[:3])}"

"""`storage=s3://...`: what of the run folder must outlive a machine, and be seen by the others, is kept in an object store.

`out` is then a scratch folder of each machine. The driver and rank 0 talk through small files (progress, a stop
request), rank 0 leaves checkpoints and results, and any machine goes on from the newest whole checkpoint.
"""

import functools
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.core.remote import RemoteFolder
from depthbox.train.checkpoint import KEPT, latest_checkpoint

__all__ = ["RESULTS", "Mirror"]

RESULTS = ("result.json", "detections.json", "model.safetensors", "failure.pickle", "bad_steps.jsonl")
EVERY_S = 2.0
LAST = "state.json"
"""Of a checkpoint's files: it is whole once this one is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Without a `storage` every method does nothing: `out` itself is on storage that all machines see."""

    storage: str
    out: Path

    @property
    def remote(self) -> RemoteFolder | None:
        return _opened(self.storage) if self.storage else None

    def push(self, *names: str) -> None:
        """Those that are there."""
        if self.remote is not None:
            for name in names:
                if (self.out / name).is_file():
                    self.remote.put(self.out / name, name)

    def pull(self, *names: str) -> None:
        if self.remote is not None:
            for name in names:
                if self.remote.has(name):
                    self.remote.get(name, self.out / name)

    def remove(self, *names: str) -> None:
        if self.remote is not None:
            for name in names:
                self.remote.remove(name)

    def push_checkpoint(self, folder: Path) -> None:
        """Then remove all but the newest two."""
        if self.remote is None:
            return
        files = sorted(folder.iterdir(), key=lambda file: file.name == LAST)
        self.push(*(f"checkpoints/{folder.name}/{file.name}" for file in files))
        for old in self._whole()[:-KEPT]:
            for name in sorted(self.remote.sizes(f"checkpoints/{old}"), key=lambda name: not name.endswith(LAST)):
                self.remote.remove(name)

    def pull_checkpoint(self) -> None:
        """The newest whole one, unless this machine has it, or a newer one."""
        whole, here = self._whole(), latest_checkpoint(self.out)
        if self.remote is None or not whole or (here is not None and here.folder.name >= whole[-1]):
            return
        folder = self.out / "checkpoints" / whole[-1]
        building = folder.with_name(f".{whole[-1]}-{uuid.uuid4().hex[:8]}")
        for name in self.remote.sizes(f"checkpoints/{whole[-1]}"):
            self.remote.get(name, building / Path(name).name)
        try:
            os.replace(building, folder)
        except OSError:  # another worker of this machine was quicker
            shutil.rmtree(building, ignore_errors=True)

    @contextmanager
    def in_touch(self) -> Iterator[None]:
        """Meanwhile, on rank 0: progress goes out and a stop request comes in, beside the training."""
        if self.remote is None:
            yield
            return
        (self.out / "stop").unlink(missing_ok=True)  # of an earlier run on this machine
        done = threading.Event()
        thread = threading.Thread(target=self._exchange, args=(done,), name="run-storage", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.push("progress.txt")

    def _exchange(self, done: threading.Event) -> None:
        sent = 0.0
        while not done.wait(EVERY_S):
            try:
                progress = self.out / "progress.txt"
                changed = progress.stat().st_mtime if progress.exists() else 0.0
                if changed > sent:
                    self.push("progress.txt")
                    sent = changed
                self.pull("stop")
            except InputError:  # a store that is away for a moment; the next checkpoint says so if it stays away
                continue

    def _whole(self) -> list[str]:
        names = self.remote.sizes("checkpoints") if self.remote is not None else {}
        return sorted(name.split("/")[1] for name in names if name.endswith(f"/{LAST}"))


@functools.lru_cache(maxsize=4)
def _opened(storage: str) -> RemoteFolder:
    return RemoteFolder.at(storage)

"""Disparity by content: an image is inferred once over all epochs, runs, trials and processes that share a folder.

One float16 safetensors file a map, `<estimator, 12 digits>/<aa>/<image digest>-<H>x<W>.safetensors`. Its header names
image, estimator, size and the payload's CRC-32, so a truncated, damaged or foreign file is a miss and is written again.
"""

import logging
import os
import re
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError
from depthbox.depth.estimator import BadDepth, DepthEstimator, checked, name_of

__all__ = ["CacheKey", "DisparityCache", "Found", "default_cache_folder"]

_FORMAT = "depthbox-disparity-1"
_STALE_S = 3600.0
"""A temporary file older than this belongs to a killed writer."""

_log = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """$DEPTHBOX_CACHE, else the user's cache folder of the platform (~/.cache/depthbox/disparity on Linux)."""
    if chosen := os.environ.get("DEPTHBOX_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "depthbox" / "disparity"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """What a map depends on."""

    image: str
    """Digest of the image file (hex)."""
    estimator: str
    """Digest of the estimator (hex)."""
    size_hw: tuple[int, int]
    """Of the decoded image that the estimator sees."""

    def __post_init__(self) -> None:
        for digest in (self.image, self.estimator):
            assert re.fullmatch(r"\w{4,128}", digest), f"{digest!r} becomes a file name"

    def metadata(self) -> dict[str, str]:
        size = f"{self.size_hw[0]}x{self.size_hw[1]}"
        return {"format": _FORMAT, "image": self.image, "estimator": self.estimator, "size": size}

    def file(self, folder: Path) -> Path:
        name = f"{self.image}-{self.size_hw[0]}x{self.size_hw[1]}.safetensors"
        return folder / self.estimator[:12] / self.image[:2] / name

    def lock(self, folder: Path) -> Path:
        """One of at most 4096 a cache: bounded, and two batches of 16 rarely wait for each other."""
        return folder / ".locks" / f"{zlib.crc32(self.image.encode()) & 0xFFF:03x}.lock"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The answer for one image."""

    disparity: np.ndarray | None
    """Float16 (h, w), [0, 1], NaN = not measured; the same bits whether read or inferred. None with a fault."""
    hit: bool
    """Served without an inference. False too for maps from disk, which are not cached."""
    inferred: bool
    fault: BadDepth | None = None


class DisparityCache:
    """`folder` None: nothing is kept, every image is inferred. Safe under any number of processes and threads."""

    def __init__(self, folder: str | Path | None, *, lock_wait_s: float = 600.0) -> None:
        self.folder = None if folder is None else Path(folder)
        self.lock_wait_s = lock_wait_s
        """After this a lock is not waited for any longer: an image inferred twice is better than a run that hangs."""
        self._writes = folder is not None
        self._swept = False

    def get_or_infer(
        self, images: list[np.ndarray], digests: list[str], paths: list[str], estimator: DepthEstimator
    ) -> tuple[list[np.ndarray], int, int]:
        """Maps (float16), hits, inferences. Raises the first `BadDepth`, after the good maps of the batch were kept."""
        found = self.look_up(images, digests, paths, estimator)
        for answer in found:
            if answer.fault:
                raise answer.fault
        maps = [answer.disparity for answer in found if answer.disparity is not None]
        return maps, sum(answer.hit for answer in found), sum(answer.inferred for answer in found)

    def look_up(
        self, images: list[np.ndarray], digests: list[str], paths: list[str], estimator: DepthEstimator
    ) -> list[Found]:
        """One answer an image. Misses are inferred in one call of the estimator, each under a lock on its key."""
        if not images:
            return []
        if not estimator.cached:
            return [replace(answer, inferred=False) for answer in _inferred(images, paths, estimator)]
        keys = [
            CacheKey(image=digest, estimator=estimator.digest, size_hw=(image.shape[0], image.shape[1]))
            for image, digest in zip(images, digests, strict=True)
        ]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        found = self._read_all(list(first))
        if missing := [key for key in first if key not in found]:
            with self._locked(missing):
                found |= self._read_all(missing)  # another process may have written them while we waited
                missing = [key for key in missing if key not in found]
                rows = [first[key] for key in missing]
                fresh = _inferred([images[row] for row in rows], [paths[row] for row in rows], estimator)
                for key, answer in zip(missing, fresh, strict=True):
                    self._write(key, answer)
                found |= dict(zip(missing, fresh, strict=True))
        return [_for_row(found[key], is_first=first[key] == row) for row, key in enumerate(keys)]

    def _read_all(self, keys: list[CacheKey]) -> dict[CacheKey, Found]:
        read = {key: self._read(key) for key in keys}
        return {key: Found(disparity=kept, hit=True, inferred=False) for key, kept in read.items() if kept is not None}

    def _read(self, key: CacheKey) -> np.ndarray | None:
        """The kept map, or None for a missing, truncated, damaged or foreign file."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None:
            return None
        try:
            with safe_open(key.file(self.folder), framework="np") as file:
                said, values = file.metadata() or {}, file.get_tensor("disparity")
        except (OSError, SafetensorError, ValueError, KeyError):
            return None
        whole = values.dtype == np.float16 and values.ndim == 2 and said == key.metadata() | {"crc32": _crc(values)}
        return values if whole else None

    def _write(self, key: CacheKey, answer: Found) -> None:
        from safetensors.numpy import save

        if self.folder is None or not self._writes or answer.disparity is None:
            return
        path = key.file(self.folder)
        temporary = self.folder / ".writing" / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.parent.mkdir(exist_ok=True)
            self._sweep(temporary.parent)
            metadata = key.metadata() | {"crc32": _crc(answer.disparity)}
            temporary.write_bytes(save({"disparity": answer.disparity}, metadata=metadata))
            os.replace(temporary, path)
        except OSError as error:
            _remove(temporary)
            self._stop_writing(error)

    def _stop_writing(self, error: OSError) -> None:
        self._writes = False
        _log.warning(
            "%s: depth maps are no longer kept (%s); the run goes on and infers what it does not find"
            " | next: make room, or set DEPTHBOX_CACHE to another folder",
            self.folder,
            error.strerror or error,
        )

    def _sweep(self, writing: Path) -> None:
        """Once a process: temporary files of writers that were killed."""
        if self._swept:
            return
        self._swept = True
        for path in writing.iterdir():
            try:
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()
            except OSError:  # another process sweeps too
                continue

    @contextmanager
    def _locked(self, keys: list[CacheKey]) -> Iterator[None]:
        """The locks of `keys`, always in the same order (no deadlock). flock: a killed holder leaves none behind."""
        from filelock import FileLock, Timeout

        with ExitStack() as stack:
            try:
                if self.folder is not None and self._writes:
                    for path in sorted({key.lock(self.folder) for key in keys}):
                        path.parent.mkdir(parents=True, exist_ok=True)
                        stack.enter_context(FileLock(path, timeout=self.lock_wait_s))
            except Timeout:
                _log.warning(
                    "%s: another process held an image for %.0f s; inferring it here too", self.folder, self.lock_wait_s
                )
            except OSError as error:
                self._stop_writing(error)
            yield


def _for_row(answer: Found, *, is_first: bool) -> Found:
    """The same image twice in a batch is inferred once; the second row is served from the first."""
    return answer if is_first or answer.fault else replace(answer, hit=True, inferred=False)


def _inferred(images: list[np.ndarray], paths: list[str], estimator: DepthEstimator) -> list[Found]:
    if not images:
        return []
    maps, name = estimator.disparity(images, paths), name_of(estimator)
    if len(maps) != len(images):
        raise InputError(
            paths[0],
            f"depth by {name}",
            f"{len(maps)} maps came back for {len(images)} photos",
            "one map a photo is needed",
        )
    return [_accepted(values, image, path, name) for values, image, path in zip(maps, images, paths, strict=True)]


def _accepted(values: np.ndarray, image: np.ndarray, path: str, name: str) -> Found:
    try:
        disparity = checked(values, image, path=path, estimator=name).astype(np.float16)
    except BadDepth as fault:
        return Found(disparity=None, hit=False, inferred=True, fault=fault)
    return Found(disparity=disparity, hit=False, inferred=True)


def _crc(values: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(values).data):08x}"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return

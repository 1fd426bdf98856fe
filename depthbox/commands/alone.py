"""One process a folder, and SIGTERM as Ctrl-C: what a command needs that works through many runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from depthbox.core.errors import InputError

__all__ = ["alone", "sigterm_as_ctrl_c"]


@contextmanager
def alone(out: Path, *, lock: str, what: str) -> Iterator[None]:
    """Two processes on one folder would do the same work, and own the same runs. Raises `InputError` where another is at `what`."""
    import filelock

    out.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(out / lock)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(out, "", f"another process is at work on {what} here", "wait, or give another out=") from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Between the runs; during one, the run hears it and leaves a checkpoint."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

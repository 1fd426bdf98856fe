"""The same stages without Ray: worker processes of a torch DataLoader, one step an item, in order."""

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from depthbox.core.errors import InputError, UsageError
from depthbox.data.shape import DepthSetup
from depthbox.data.source import Packed, Rows, Source
from depthbox.depth.actor import DepthActor

__all__ = ["local_batches"]


class _Steps(Dataset):
    def __init__(self, source: Source, depth: DepthSetup | None) -> None:
        self.source, self.depth = source, depth
        self._actor: DepthActor | None = None

    def __getitem__(self, step: int) -> Packed | InputError | UsageError:
        """Our errors are handed over as they are: the loader would make them anew from their text alone, and fail."""
        try:
            return self._packed(step)
        except (InputError, UsageError) as error:
            return error

    def _packed(self, step: int) -> Packed:
        slots = self.source.plan.share(0, 1)
        rows = self.source.decode([step] * len(slots), list(slots))
        return self.source.pack(rows if self.depth is None else self._with_depth(rows, self.depth))

    def _with_depth(self, rows: Rows, depth: DepthSetup) -> Rows:
        """On one thread, as on a cluster: other sums are other bits. This may be the process that trains, which keeps its threads."""
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            # Made on first use: the network is loaded in the process that runs it.
            self._actor = self._actor or depth.actor()
            return self._actor(rows)
        finally:
            torch.set_num_threads(threads)


def local_batches(source: Source, depth: DepthSetup | None, steps: range, *, processes: int = 1) -> Iterator[Packed]:
    """The packs of `steps` for a single worker, prepared ahead by `processes` processes (0: in this one)."""
    loader = DataLoader(
        _Steps(source, depth),
        batch_size=None,
        sampler=list(steps),
        num_workers=processes,
        multiprocessing_context=_context() if processes else None,
        prefetch_factor=4 if processes else None,
        collate_fn=_as_is,
        worker_init_fn=_leave_interrupts_alone,
    )
    return _raising(iter(loader))


def _raising(packs: Iterator[Packed | InputError | UsageError]) -> Iterator[Packed]:
    for pack in packs:
        if not isinstance(pack, Packed):
            raise pack
        yield pack


def _context() -> BaseContext:
    """Processes made from one that has imported what they need: only the first run of a program waits for it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _leave_interrupts_alone(_: int) -> None:
    """Ctrl-C reaches the whole process group; training wants the data of its last step, and ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_is(item: Any) -> Any:
    return item

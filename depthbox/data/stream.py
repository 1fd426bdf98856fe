"""[Ray] The same stages as Ray Data operators: plan -> decode (tasks) -> disparity (actor pool) -> pack (tasks) -> one shard a worker.

A block holds a few steps of one rank, and all blocks have equally many steps; with order preserved, Ray's splitter then deals them out in turn,
so rank r of W gets exactly its blocks. The loop checks the step of every pack it receives.
"""

import functools
import os
import pickle
import time
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.util.annotations import RayDeprecationWarning

from depthbox.data.fetch import DataCopy
from depthbox.data.shape import DepthSetup, StreamShape
from depthbox.data.source import Rows, Source
from depthbox.depth.actor import DepthActor

__all__ = ["build_stream", "data_options", "map_blocks"]

BLOCK_STEPS = 4
ACTOR_TRIES = 2
TASK_TRIES = 4


def build_stream(source: Source, depth: DepthSetup | None, steps: range, shape: StreamShape) -> "ray.data.Dataset":
    """The data set whose splits are the ranks' packs of `steps`, in order."""
    callbacks = ray.data.DataContext.get_current().custom_execution_callback_classes
    if _Unhurried not in callbacks:
        # The same four methods, without Ray's private module.
        callbacks.append(_Unhurried)  # type: ignore[arg-type]
    ref = ray.put(source)
    # Not `from_arrow`: it asks a task of a whole CPU about every block, and waits for ever where no node has one free.
    plan = ray.data.from_blocks(
        [
            _plan_block(source, steps, first, rank, shape.world_size)
            for first in range(steps.start, steps.stop, BLOCK_STEPS)
            for rank in range(shape.world_size)
        ]
    )
    tasks: dict[str, Any] = {"num_cpus": shape.task_cpus, "max_retries": TASK_TRIES}
    rows = map_blocks(plan, functools.partial(_decode, ref), **tasks)
    if depth is not None:
        rows = map_blocks(
            rows,
            _BackgroundDepthActor,
            num_cpus=shape.depth_actor_cpus,
            num_gpus=shape.depth_actor_gpus or None,
            compute=ray.data.ActorPoolStrategy(size=shape.depth_actors),
            max_restarts=ACTOR_TRIES,
            max_task_retries=ACTOR_TRIES,
            fn_constructor_args=(
                source.copy,
                depth.spec,
                depth.cache_folder,
                depth.device,
                1,
                depth.maps_kind,
                depth.maps_zero,
            ),
        )
    packs = map_blocks(rows, functools.partial(_pack, ref), **tasks)
    # Ray Train's options say so too; whoever reads the stream without it needs the order as well.
    packs.context.execution_options.preserve_order = True
    return packs


def data_options() -> "ray.train.DataConfig":
    """Ray Train's data options for this stream: order preserved, no locality games."""
    import ray.train

    options = ray.data.ExecutionOptions(preserve_order=True)
    return ray.train.DataConfig(execution_options=options, enable_shard_locality=False)


def map_blocks(rows: "ray.data.Dataset", function: Any, **options: Any) -> "ray.data.Dataset":
    """Whole blocks through `function`. Ray means to drop bounded retries in 2.64, without a successor: a photo that kills its worker must not be tried for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return rows.map_batches(function, batch_size=None, batch_format="numpy", **options)


class _Unhurried:
    """Ray Data's scheduling loop does not wait while finished blocks are held back: it took 60 % of a core (Ray 2.60).

    A pause a step leaves it fifty steps a second, each of which can start any number of tasks.
    """

    def before_execution_starts(self, executor: object) -> None: ...
    def after_execution_succeeds(self, executor: object) -> None: ...
    def after_execution_fails(self, executor: object, error: Exception) -> None: ...

    def on_execution_step(self, executor: object) -> None:
        time.sleep(0.02)


class _BackgroundDepthActor(DepthActor):
    """The depth stage as an actor of the pool, below the training process in the operating system's eyes."""

    def __init__(self, copy: DataCopy | None, *arguments) -> None:
        _step_back()
        if copy is not None:
            copy.ensure()
        super().__init__(*arguments)


def _plan_block(source: Source, steps: range, first: int, rank: int, world_size: int) -> pa.Table:
    slots = source.plan.share(rank, world_size)
    mine = range(first, min(first + BLOCK_STEPS, steps.stop))
    return pa.table({"step": np.repeat(mine, len(slots)), "slot": np.tile(slots, len(mine))})


def _decode(ref: "ray.ObjectRef", batch: Rows) -> Rows:
    _step_back()
    return _source(ref).decode(batch["step"].tolist(), batch["slot"].tolist())


def _pack(ref: "ray.ObjectRef", rows: Rows) -> dict[str, np.ndarray]:
    _step_back()
    source, steps = _source(ref), np.asarray(rows["step"])
    packs = [source.pack({name: column[steps == step] for name, column in rows.items()}) for step in np.unique(steps)]
    out = np.empty(len(packs), dtype=object)
    out[:] = [pickle.dumps(pack, protocol=5) for pack in packs]
    return {"pack": out}


@functools.lru_cache(maxsize=2)
def _source(ref: "ray.ObjectRef") -> Source:
    """Fetched once a process, not once a block; its files are on this machine."""
    source = ray.get(ref)
    if source.copy is not None:
        source.copy.ensure()
    return source


def _step_back() -> None:
    """Two cores are shared by data and training: gang-scheduled training threads must not wait for a decoder."""
    import torch

    os.setpriority(os.PRIO_PROCESS, 0, 19)
    torch.set_num_threads(1)

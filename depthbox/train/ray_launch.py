"""[Ray] A run on Ray: one data stream, Ray Train DDP workers, restarts after a lost worker."""

import logging
import os
import pickle
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from depthbox.core.errors import InputError
from depthbox.data.shape import DepthSetup, StreamShape
from depthbox.data.source import Packed, Source
from depthbox.data.stream import build_stream, data_options
from depthbox.train.checkpoint import latest_checkpoint
from depthbox.train.job import Job
from depthbox.train.mirror import RESULTS
from depthbox.train.nodes import check_address, check_nodes
from depthbox.train.pairing import with_outlines
from depthbox.train.progress import Relay
from depthbox.train.resources import plan_resources
from depthbox.train.stop import Interrupted, interruption

__all__ = ["cluster_of", "driver_packs", "launch_on_ray", "start_ray"]

COLLECTIVE_LIMIT_S = 300
"""A worker that hangs in a collective is given up after this; Ray's default is half an hour."""

HUNG_AFTER_S = 45
"""A worker whose process does not answer this long is taken for dead; Ray's default is ten minutes."""

LOOK_EVERY_S = 2.0
"""How often the driver asks the object store for progress, where there is one."""

WORKER_ENV = {
    # Threads that spin at a barrier cost a factor of ten where data workers share the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "300000",
    # How long the controller waits for a hung worker to leave its process group; Ray's default is 30 s.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "10",
}
"""Of every process of a run on Ray."""


def start_ray(address: str) -> None:
    """Connect to `address`, or to the cluster this process already uses, or start a small one on this machine."""
    if ray.is_initialized():
        return
    stop = signal.getsignal(signal.SIGTERM)
    _connect(address)
    # Ray puts its own handlers on SIGTERM, its core one that aborts the process three seconds later.
    if callable(stop) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _connect(address: str) -> None:
    environment = {"env_vars": WORKER_ENV}
    if address or os.environ.get("RAY_ADDRESS"):
        check_address(address or os.environ["RAY_ADDRESS"])
        ray.init(address=address or None, runtime_env=environment, log_to_driver=False)
        return
    # Without "local" Ray would join, or wait for, whatever cluster was last started on this machine.
    # Ray lowers the priority of its workers; here only the data stages step back.
    ray.init(
        address="local",
        include_dashboard=False,
        runtime_env=environment,
        log_to_driver=False,
        logging_level=logging.WARNING,
        _system_config={"worker_niceness": 0},
    )


def cluster_of(address: str) -> Mapping[str, float]:
    """What the cluster at `address` has."""
    start_ray(address)
    return ray.cluster_resources()


def launch_on_ray(job: Job, *, within_trial: bool = False) -> None:
    """Run the job to its end; raises what its workers raised, `Interrupted` after a stop request, `InputError` when it cannot fit the cluster.

    `within_trial`: this process is a trial of Ray Tune, and the workers' reports are the trial's.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(HUNG_AFTER_S))
    start_ray(job.experiment.ray.address)
    experiment = job.experiment
    plan = plan_resources(experiment, cluster=ray.cluster_resources())
    plan.check()
    check_nodes(job, plan)
    _failure_file(job).unlink(missing_ok=True)
    job.mirror.remove("failure.pickle", "stop", "progress.txt")
    job = with_outlines(job, partial(driver_packs, job.depth, plan.stream))
    trainer = TorchTrainer(
        partial(_worker, job, plan.torch_threads),
        torch_config=TorchConfig(backend="nccl" if plan.use_gpu else "gloo", timeout_s=COLLECTIVE_LIMIT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=experiment.workers, use_gpu=plan.use_gpu, resources_per_worker=dict(plan.worker)
        ),
        run_config=ray.train.RunConfig(
            # Ray's own bookkeeping; a new name each time, because the run folder alone says where a run goes on.
            name=uuid.uuid4().hex[:8],
            **_bookkeeping(job),
            failure_config=ray.train.FailureConfig(max_failures=experiment.ray.max_failures),
            callbacks=_reporting(within_trial),
        ),
        datasets={"train": partial(_stream, job, plan.stream)},
        dataset_config=data_options(),
    )
    _fit(trainer, job)
    job.mirror.pull(*RESULTS)
    if _failure_file(job).exists():
        raise pickle.loads(_failure_file(job).read_bytes())
    if job.stop_file.exists():
        raise interruption(job.stop_file)


def _reporting(within_trial: bool) -> list:
    if not within_trial:
        return []
    from ray.tune.integration.ray_train import TuneReportCallback

    return [TuneReportCallback()]


def _stream(job: Job, shape: StreamShape) -> "ray.data.Dataset":
    """Made anew whenever the workers (re)start: from the newest checkpoint on."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    job.mirror.pull_checkpoint()
    checkpoint = latest_checkpoint(job.out)
    start = checkpoint.step if checkpoint else 0
    # A finished run has no step left; one is streamed and never read.
    last = job.experiment.schedule.steps
    return build_stream(job.source, job.depth, range(min(start, last - 1), last), shape)


def driver_packs(depth: DepthSetup | None, shape: StreamShape, source: Source, steps: range) -> Iterator[Packed]:
    """Read by the driver, before there are workers."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    stream = build_stream(source, depth, steps, replace(shape, world_size=1))
    for batch in stream.iter_batches(batch_size=1, batch_format="numpy"):
        yield pickle.loads(batch["pack"][0])


def _worker(job: Job, threads: int) -> None:
    # Not at the top: Ray's controller reads this module too, and needs neither networks nor losses.
    import torch

    from depthbox.train.worker import run_worker

    torch.set_num_threads(threads)
    if job.source.copy is not None:
        job.source.copy.ensure()
    shard = ray.train.get_dataset_shard("train")

    def batches(step: int) -> Iterator[Packed]:
        for batch in shard.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=2):
            yield pickle.loads(batch["pack"][0])

    try:
        run_worker(job, batches, report=ray.train.report)
    except Interrupted:
        # An exception would count as a failure and restart the workers; the driver looks at the stop file.
        return
    except InputError as error:
        # A restart would meet the same input again. Several workers must still end together, by the exception.
        _failure_file(job).write_bytes(pickle.dumps(error))
        job.mirror.push(_failure_file(job).name)
        if job.experiment.workers > 1:
            raise


def _failure_file(job: Job) -> Path:
    return job.out / "failure.pickle"


def _bookkeeping(job: Job) -> dict:
    remote = job.mirror.remote
    if remote is None:
        return {"storage_path": str(job.out / "ray")}
    return {"storage_path": f"{remote.path}/ray", "storage_filesystem": remote.files}


def _fit(trainer: TorchTrainer, job: Job) -> None:
    """Ray's own interrupt handler aborts workers in mid-step; in a thread of its own `fit` leaves signals to the driver's stop file."""
    relay, looked, asked_to_stop = Relay(job.out), time.monotonic(), False
    outcome: list[BaseException] = []
    thread = threading.Thread(target=_caught, args=(trainer.fit, outcome), name="ray-train-fit", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if not asked_to_stop and job.stop_file.exists():
            asked_to_stop = True
            job.mirror.push(job.stop_file.name)
        if time.monotonic() - looked > LOOK_EVERY_S:
            looked = time.monotonic()
            job.mirror.pull("progress.txt")
        relay.show_new()
    if outcome:
        raise _cause(outcome[0])


def _caught(call: Callable[[], object], outcome: list[BaseException]) -> None:
    try:
        call()
    except BaseException as error:
        outcome.append(error)


def _cause(error: BaseException) -> BaseException:
    """The worker's own words, if it had any for a person."""
    failures = list(getattr(error, "worker_failures", {}).values())
    seen: list[BaseException | None] = [*failures, error]
    while seen:
        one = seen.pop(0)
        if isinstance(one, InputError):
            return one
        if one is not None:
            seen += [getattr(one, "cause", None), one.__cause__]
    return error

"""How much does the Ray path cost? Images a second of the whole Ray pipeline against a plain DataLoader(2) loop, as a ratio.

Both sides decode, transform and train with the same functions and the same step; the cache is warm; rounds are interleaved so that a busy
moment of the machine hits both. Also: epoch 2 with depth (cache warm) against the same run without depth, and what two processes can do at
best on this machine (the measured capacity of two decoding processes alone).

    uv run python experiments/bench_ingest.py images=DIR annotations=FILE [rounds=3 steps=40]
"""

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from depthbox.core.config import parse_overrides, vary
from depthbox.data.local import local_batches
from depthbox.data.source import Packed
from depthbox.recipes import box_depth
from depthbox.train.job import Job
from depthbox.train.prepare import prepare


def main() -> None:
    words = parse_overrides(sys.argv[1:])
    rounds, steps = int(words.pop("rounds", "3")), int(words.pop("steps", "40"))
    images, annotations = words.pop("images"), words.pop("annotations")
    with tempfile.TemporaryDirectory() as folder:
        experiment = vary(
            box_depth(),
            {
                "data.root": ".",
                "data.train.images": str(Path(images).absolute()),
                "data.train.annotations": str(Path(annotations).absolute()),
                "depth.cache": f"{folder}/cache",
                "schedule.steps": steps,
                "out": f"{folder}/run",
                "tracking.uri": "none",
                **words,
            },
        )
        job = prepare(experiment)
        job.out.mkdir(parents=True)
        print(json.dumps(measured(job, rounds, steps), indent=1))


def measured(job: Job, rounds: int, steps: int) -> dict[str, float]:
    """Medians over interleaved rounds; the first round of each kind warms up and is not counted."""
    from depthbox.data.shape import StreamShape
    from depthbox.data.stream import build_stream
    from depthbox.train.ray_launch import start_ray

    start_ray("")
    asked = job.experiment.ray
    shape = StreamShape(
        world_size=1,
        task_cpus=asked.task_cpus,
        depth_actors=asked.depth_actors,
        depth_actor_cpus=asked.depth_actor_cpus,
    )
    without = replace(job, depth=None)
    sides = {
        "ray": lambda: _stream(build_stream(job.source, job.depth, range(steps), shape)),
        "loader": lambda: local_batches(job.source, job.depth, range(steps), processes=2),
        "ray_no_depth": lambda: _stream(build_stream(without.source, None, range(steps), shape)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, start in sides.items():
            speeds[name].append(_images_per_second(without if name == "ray_no_depth" else job, start()))
    medians = {name: statistics.median(values[1:]) for name, values in speeds.items()}
    ratios = [r / d for r, d in zip(speeds["ray"][1:], speeds["loader"][1:], strict=True)]
    return {
        "ray_over_loader": medians["ray"] / medians["loader"],
        "ray_over_loader_min": min(ratios),
        "ray_over_loader_max": max(ratios),
        "epoch_two_over_no_depth_time": medians["ray_no_depth"] / medians["ray"],
        "two_process_capacity_over_loader": _capacity(job) / medians["loader"],
        **{f"images_per_second_{k}": v for k, v in medians.items()},
    }


def _images_per_second(job: Job, batches: Iterable[Packed]) -> float:
    """Of real training steps, from the end of the second one on: starting up is not ingest."""
    from depthbox.train.context import RunContext
    from depthbox.train.loop import train
    from depthbox.train.progress import Progress
    from depthbox.train.state import make_state

    times: list[float] = []

    def clocked() -> Iterable[Packed]:
        for pack in batches:
            times.append(time.monotonic())
            yield pack

    state = make_state(replace(job, out=Path(tempfile.mkdtemp())))
    train(
        state,
        clocked(),
        job,
        RunContext(
            job=job, tracker=None, progress=Progress(job.experiment.schedule.steps, write=None), report=lambda _: None
        ),
    )
    return (len(times) - 3) * job.source.plan.batch_size / (times[-1] - times[2])


def _stream(dataset) -> Iterable[Packed]:
    import pickle

    for batch in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=2):
        yield pickle.loads(batch["pack"][0])


def _capacity(job: Job) -> float:
    """Images a second that two processes can decode and transform when nothing else runs."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_decode_steps, [(job, range(1)), (job, range(1, 2))])
        began = time.monotonic()
        pool.map(_decode_steps, [(job, range(0, 10)), (job, range(10, 20))])
        return 20 * job.source.plan.batch_size / (time.monotonic() - began)


def _decode_steps(arguments: tuple[Job, range]) -> None:
    job, steps = arguments
    for _ in local_batches(job.source, job.depth, steps, processes=0):
        pass


if __name__ == "__main__":
    main()

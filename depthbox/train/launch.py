"""One run from an experiment to a result, on Ray or alone; the MLflow run is opened here and always ended here."""

import json
import logging
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType, MappingProxyType

from depthbox.core.config import flatten
from depthbox.core.dist import rank
from depthbox.core.errors import InputError
from depthbox.data.local import local_batches
from depthbox.data.semantic import SemanticData
from depthbox.data.source import Packed, Source
from depthbox.data.video import VideoData
from depthbox.experiment import Experiment, name_of
from depthbox.supervision.config import DepthSsdaConfig, SdeConfig
from depthbox.tracking import Status, Tracker, open_tracker
from depthbox.train.job import Job
from depthbox.train.pairing import with_outlines
from depthbox.train.pictures import picture_of_run
from depthbox.train.prepare import claim_folder, prepare
from depthbox.train.stop import Enough, Interrupted
from depthbox.train.worker import run_worker

__all__ = ["RunResult", "Watch", "run"]

log = logging.getLogger("depthbox")

SEMANTIC_HEADLINE = ("miou", "pixel_accuracy", "mean_accuracy")
DEPTH_HEADLINE = ("spearman", "abs_rel", "rmse", "a1", "prior_spearman", "prior_abs_rel")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a finished run leaves behind."""

    scores: Mapping[str, float]
    note: str
    counters: Mapping[str, int]
    run_id: str
    out: Path
    picture: Path | None
    open_command: str
    headline: Sequence[str] = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")
    """The scores that a run of this kind is read by."""

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints; a score that does not exist is null."""
        named = dict.fromkeys(self.headline)
        scores = named | {name: None if math.isnan(value) else value for name, value in self.scores.items()}
        return {**scores, "note": self.note, **self.counters, "run_id": self.run_id, "out": str(self.out)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How a trial is watched: `report` hears of its scores after each of `reports` parts, and it pauses after the step `pause_at` (0: never).

    On Ray the workers report to the trial of Ray Tune that this process is, instead.
    """

    report: Callable[[Mapping[str, float]], None]
    reports: int
    pause_at: int = 0


def run(
    experiment: Experiment,
    *,
    command: str = "",
    tags: Mapping[str, str] = MappingProxyType({}),
    watch: Watch | None = None,
) -> RunResult:
    """Train, evaluate, log. The same experiment again goes on where a killed run stopped, in the same MLflow run.

    `tags` go to the MLflow run, such as a study's `child_tags()`.

    Raises `InputError`/`UsageError` in words, `Interrupted` after Ctrl-C or SIGTERM (a checkpoint is there, the MLflow
    run is KILLED), `Enough` where who watches it has stopped it (the MLflow run is FINISHED).
    """
    earlier = prepare(experiment)
    if watch is not None:
        earlier = replace(earlier, reports=watch.reports, pause_at=watch.pause_at)
    earlier.mirror.pull("experiment.json", "run.json")
    run_id = claim_folder(experiment)
    tracker = _open(experiment, earlier, run_id, {"depthbox.command": command, **tags})
    job = replace(earlier, run_id=tracker.run_id)
    try:
        (job.out / "run.json").write_text(json.dumps({"run_id": tracker.run_id}))
        job.mirror.push("experiment.json", "run.json")
        with _stopping(job):
            result, tracker = _launched(job, tracker, watch)
    except BaseException as error:
        _end(job, tracker, _status(error))
        raise
    tracker.finish("FINISHED")
    return result


def _status(error: BaseException) -> Status:
    if isinstance(error, Enough):
        return "FINISHED"
    return "KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED"


def _end(job: Job, tracker: Tracker, status: Status) -> None:
    """After an error: a store that is away must not hide it."""
    try:
        _ending(job, tracker).finish(status)
    except InputError as error:
        log.warning("the run is not marked %s: %s", status, error)


def _launched(job: Job, tracker: Tracker, watch: Watch | None) -> tuple[RunResult, Tracker]:
    if job.experiment.launcher == "local":
        job = with_outlines(job, partial(_local_packs, job))
        run_worker(job, partial(_local, job), report=watch.report if watch else _nothing, tracker=tracker)
    else:
        from depthbox.train.ray_launch import launch_on_ray

        tracker.release()
        launch_on_ray(job, within_trial=watch is not None)
        tracker = _ending(job, tracker)
    return _result(job, tracker), tracker


def _local(job: Job, step: int) -> Iterator[Packed]:
    return _local_packs(job, job.source, range(step, job.experiment.schedule.steps))


def _local_packs(job: Job, source: Source, steps: range) -> Iterator[Packed]:
    return local_batches(source, job.depth, steps, processes=job.experiment.data.processes)


def _result(job: Job, tracker: Tracker) -> RunResult:
    found = json.loads((job.out / "result.json").read_text())
    pictures = _pictures(job)
    for key, picture in pictures.items():
        tracker.image(picture, key=key, step=job.experiment.schedule.steps)
    tracker.artifact(job.out / "model.safetensors", folder="model")
    tracker.artifact(job.out / "result.json")
    counters = {
        name: found[name] for name in ("depth_inferences", "cache_hits", "rows_in", "rows_ok", "rows_quarantined")
    }
    for row in found["quarantined"]:
        log.warning("quarantined: %s: %s", row["path"], row["reason"])
    return RunResult(
        scores=found["scores"],
        note=found["note"],
        counters=counters,
        run_id=tracker.run_id,
        out=job.out,
        picture=pictures.get("predictions"),
        open_command=tracker.command_to_open(),
        **_headline(job.experiment.method),
    )


def _headline(method: object) -> dict[str, Sequence[str]]:
    if isinstance(method, SdeConfig):
        return {"headline": DEPTH_HEADLINE}
    return {"headline": SEMANTIC_HEADLINE} if isinstance(method, DepthSsdaConfig) else {}


def _pictures(job: Job) -> dict[str, Path]:
    """By the name of their panel in MLflow."""
    if isinstance(job.source.data, SemanticData):
        from depthbox.train.semantic_pictures import pictures_of_classes

        return pictures_of_classes(job)
    if job.val is None:
        return {}
    if isinstance(job.val, VideoData):
        from depthbox.train.video_pictures import picture_of_video

        found = picture_of_video(job)
    else:
        found = picture_of_run(job)
    return {} if found is None else {"predictions": found}


def _open(experiment: Experiment, job: Job, run_id: str, tags: Mapping[str, str]) -> Tracker:
    named = {"depthbox.digest": name_of(experiment), "depthbox.data_digest": job.source.data.digest}
    return open_tracker(
        experiment.tracking.uri,
        experiment=experiment.tracking.experiment,
        run_name=experiment.tracking.run_name or Path(experiment.out).name,
        params=flatten(experiment),
        tags={**named, **tags},
        run_id=run_id or None,
        out=job.out,
    )


def _ending(job: Job, tracker: Tracker) -> Tracker:
    """The tracker that ends the run: this process's own again after Ray's rank 0 has had it."""
    if job.experiment.launcher == "local" or not job.run_id:
        return tracker
    tracking = job.experiment.tracking
    return open_tracker(
        tracking.uri, experiment=tracking.experiment, run_name="", params={}, tags={}, run_id=job.run_id, out=job.out
    )


@contextmanager
def _stopping(job: Job) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the workers to stop at the next step, with a checkpoint; a second one stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if job.stop_file.exists():
            raise KeyboardInterrupt
        job.stop_file.touch()
        log.warning("stopping after this step; once more stops at once")

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)} if _main_thread() else {}
    try:
        yield
    except RuntimeError as error:
        # A signal to the whole process group ends a data process too, and the step that waits for it.
        if job.stop_file.exists():
            raise Interrupted from error
        raise
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        job.stop_file.unlink(missing_ok=True)


def _main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread() and rank() == 0


def _nothing(_: Mapping[str, float]) -> None: ...

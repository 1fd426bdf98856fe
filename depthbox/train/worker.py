"""What every worker of a run does, under Ray Train or alone: train, evaluate once more, write the results down."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

from safetensors.torch import save_file

from depthbox.core.config import flatten
from depthbox.core.dist import rank
from depthbox.data.schema import CocoData
from depthbox.data.semantic import SemanticData
from depthbox.data.source import Packed
from depthbox.depth.trained import SDE_NOTE
from depthbox.evaluate.cityscapes import cityscapes_scores
from depthbox.evaluate.instance import Scores
from depthbox.evaluate.results import coco_results
from depthbox.experiment import PLACES, name_of
from depthbox.supervision.config import SdeConfig
from depthbox.tracking import NullTracker, Tracker, open_tracker, redacted
from depthbox.train.best import best_of
from depthbox.train.context import RunContext
from depthbox.train.job import Job
from depthbox.train.loop import train
from depthbox.train.mirror import RESULTS
from depthbox.train.progress import Progress, Relay, say
from depthbox.train.scoring import scored
from depthbox.train.state import TrainState, make_state

__all__ = ["run_worker"]


def run_worker(
    job: Job,
    batches: Callable[[int], Iterator[Packed]],
    report: Callable[[Mapping[str, float]], None],
    *,
    tracker: Tracker | None = None,
) -> None:
    """`batches(step)` yields this rank's packs from that step on. Rank 0 leaves `result.json`, `detections.json` and `model.safetensors` in `out`."""
    job.out.mkdir(parents=True, exist_ok=True)
    own = tracker is None and rank() == 0
    tracker = _open(job) if own else tracker
    write = None if rank() else Relay(job.out).put if own else say
    context = RunContext(
        job=job,
        tracker=tracker,
        report=report,
        progress=Progress(job.experiment.schedule.steps, write=write, title=_title(job)),
    )
    try:
        state = make_state(job)
        with job.mirror.in_touch() if rank() == 0 else nullcontext():
            if state.step < job.experiment.schedule.steps:
                train(state, batches(state.step), job, context)
            _finish(state, job, context)
    finally:
        if own and tracker is not None:
            tracker.release()


def _finish(state: TrainState, job: Job, context: RunContext) -> None:
    model = context.job_model(state)
    scores, detections = scored(model, job)
    context.tell(scores.values, step=job.experiment.schedule.steps)
    counters = state.counters.gathered()
    if rank() != 0:
        return
    if isinstance(job.val, CocoData):
        scores = scores.beside(cityscapes_scores(job.val, detections))
    steps = job.experiment.schedule.steps
    # Of the last evaluation alone nothing is the best.
    best = best_of(state.evaluations | {steps: scores.values}) if state.evaluations else {}
    context.log({f"val/{name}": value for name, value in {**scores.values, **best}.items()}, step=steps)
    context.log(counters.totals(), step=steps)
    save_file(
        {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()},
        job.out / "model.safetensors",
        metadata=_metadata(job, scores),
    )
    if isinstance(job.val, CocoData):
        _write(job.out / "detections.json", coco_results(detections, job.val.category_ids))
    quarantined = [{"path": path, "reason": reason} for path, reason in counters.bad.values()]
    _write(
        job.out / "result.json",
        {"scores": {**scores.values, **best}, "note": scores.note, **counters.totals(), "quarantined": quarantined},
    )
    job.mirror.push(*RESULTS)


def _metadata(job: Job, scores: Scores) -> dict[str, str]:
    """What prediction needs to know about the weights, and what a model card says of them: the file is enough by itself."""
    experiment = job.experiment
    how = {name: value for name, value in flatten(experiment).items() if not name.startswith(PLACES)}
    said: dict[str, object] = {
        "classes": job.classes,
        "model": flatten(experiment.model),
        "views": flatten(experiment.data.views),
        "method": re.sub(r"(?<!^)(?=[A-Z])", "_", type(experiment.method).__name__.removesuffix("Config")).lower(),
        "settings": {name: redacted(value) if isinstance(value, str) else value for name, value in how.items()},
        "digest": name_of(experiment),
        "data_digest": job.source.data.digest,
        "data_images": len(job.source.data.records),
        "scores": {name: value for name, value in scores.values.items() if math.isfinite(value)},
    }
    method, views = experiment.method, experiment.data.views
    if isinstance(method, SdeConfig):
        said[SDE_NOTE] = {"short_side": views.short_side, "nearest": method.nearest, "farthest": method.farthest}
    elif isinstance(job.source.data, CocoData):
        said |= {"category_ids": job.source.data.category_ids, "inference": flatten(experiment.inference)}
    elif isinstance(job.source.data, SemanticData):
        table = job.source.data.table
        said |= {"category_ids": table.written_ids, "colours": table.written_colours}
    return {name: json.dumps(value) for name, value in said.items()}


def _write(path: Path, value: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value))
    os.replace(part, path)


def _open(job: Job) -> Tracker:
    if not job.run_id:
        return NullTracker()
    tracking = job.experiment.tracking
    return open_tracker(
        tracking.uri,
        experiment=tracking.experiment,
        run_name=tracking.run_name,
        params={},
        tags={},
        run_id=job.run_id,
        out=job.out,
    )


def _title(job: Job) -> str:
    name = job.experiment.tracking.run_name
    return f"{name}: " if name else ""

"""What surrounds the loop on a worker: where it logs, how it hears of a stop, how it evaluates, what it tells the launcher."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from depthbox.core.dist import agreed, rank
from depthbox.tracking import Tracker
from depthbox.train.job import Job
from depthbox.train.progress import Progress
from depthbox.train.scoring import scored
from depthbox.train.state import TrainState
from depthbox.train.stop import ENOUGH
from depthbox.train.watch import Watch, watch_of

__all__ = ["RunContext"]


@dataclass(slots=True, kw_only=True)
class RunContext:
    """Only rank 0 has a tracker and a progress line; `report` is the launcher's (Ray Train's, or nothing)."""

    job: Job
    tracker: Tracker | None
    progress: Progress
    report: Callable[[Mapping[str, float]], None]
    watch: Watch = field(init=False)
    _parts_told: int = 0

    def __post_init__(self) -> None:
        self.watch = watch_of(self.job.experiment)

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        if self.tracker is not None:
            self.tracker.metrics(metrics, step=step)
        self.progress.show(metrics, step=step)
        if warning := self.watch.look(metrics, step=step):
            self.progress.warn(warning)

    def stop_requested(self) -> bool:
        """Rank 0 looks, all ranks agree: they must leave at the same step."""
        return agreed(rank() == 0 and os.path.exists(self.job.stop_file))

    def evaluate(self, state: TrainState) -> None:
        if self.job.val is None:
            return
        scores, _ = scored(self.job_model(state), self.job)
        state.evaluations[state.step] = dict(scores.values)
        self.log({f"val/{name}": value for name, value in scores.values.items()}, step=state.step)
        self.tell(scores.values, step=state.step)

    def tell(self, scores: Mapping[str, float], *, step: int) -> None:
        """Report scores with the part of the run that is done, of `job.reports`; a part is told once, by every rank at the same step."""
        part = step * self.job.reports // self.job.experiment.schedule.steps
        if part > self._parts_told:
            self._parts_told = part
            self.report({"step": float(step), "part": part, **scores})

    def pause(self) -> None:
        """Ask the run to stop after this step, satisfied with it."""
        if rank() == 0:
            self.job.stop_file.write_text(ENOUGH)

    def job_model(self, state: TrainState):
        return state.method.evaluated(state.model, state.step)

    def before_checkpoint(self) -> None:
        """What is logged must be in the store before a checkpoint that would not log it again."""
        if self.tracker is not None:
            self.tracker.flush()

"""The one training loop. It knows batches, named losses and steps; it never learns which method it runs."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.batch import Batch
from depthbox.core.dist import rank, world_size
from depthbox.core.errors import InputError
from depthbox.data.pack import unpack
from depthbox.data.source import Packed
from depthbox.supervision.method import Losses, weigh
from depthbox.train.context import RunContext
from depthbox.train.job import Job
from depthbox.train.optimizer import learning_rate, set_learning_rate
from depthbox.train.state import TrainState
from depthbox.train.stop import interruption

__all__ = ["train"]

BAD_STEPS_ALLOWED = 10


@dataclass(slots=True)
class _Pace:
    """Images a second between two log lines, and how many steps in a row gave no finite gradient."""

    since: float
    images: int = 0
    bad_steps: int = 0


def train(state: TrainState, batches: Iterable[Packed], job: Job, context: RunContext) -> None:
    """Run from `state.step` to the end of the schedule. Raises `Interrupted` after a stop request, `InputError` when the loss stays not finite."""
    schedule = job.experiment.schedule
    pace = _Pace(time.monotonic())
    if 0 < job.pause_at <= state.step:
        context.pause()
        if context.stop_requested():
            raise interruption(job.stop_file)
    state.student.train()
    for packed in batches:
        assert packed.step == state.step, f"the stream brought step {packed.step}, step {state.step} is due"
        state.counters.add(packed.outcome)
        losses, norm = _step(state, unpack(packed).to(state.device), job)
        pace.images += len(packed.image_ids) * world_size()
        _check_finite(losses, norm, packed, pace, job)
        state.step += 1
        _log(state, losses, norm, pace, job, context)
        # Before the checkpoint: a run that goes on from there has been evaluated.
        if schedule.evaluate_every and state.step % schedule.evaluate_every == 0 and state.step < schedule.steps:
            context.evaluate(state)
        if state.step == job.pause_at:
            context.pause()
        stop = context.stop_requested()
        if state.step < schedule.steps and (stop or state.step % max(schedule.checkpoint_every, 1) == 0):
            _checkpoint(state, job, context)
        if stop:
            raise interruption(job.stop_file)
    _checkpoint(state, job, context)


def _step(state: TrainState, batch: Batch, job: Job) -> tuple[Losses, Tensor]:
    schedule = job.experiment.schedule
    set_learning_rate(state.optimizer, schedule.learning_rate * learning_rate(schedule)(state.step))
    losses = state.method.losses(state.student, batch, state.step)
    state.optimizer.zero_grad(set_to_none=True)
    weigh(losses.terms, state.method.weights, state.step).backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), schedule.clip_norm)
    # Gradients are averaged over ranks, so all ranks agree on whether this step counts.
    if torch.isfinite(norm):
        state.optimizer.step()
    state.method.after_step(state.model, state.step)
    return losses, norm


def _check_finite(losses: Losses, norm: Tensor, packed: Packed, pace: _Pace, job: Job) -> None:
    pace.bad_steps = 0 if torch.isfinite(norm) else pace.bad_steps + 1
    if not pace.bad_steps:
        return
    bad = sorted(name for name, value in losses.terms.items() if not torch.isfinite(value))
    with (job.out / "bad_steps.jsonl").open("a") as file:
        file.write(
            json.dumps({"step": packed.step, "rank": rank(), "losses": bad, "image_ids": list(packed.image_ids)}) + "\n"
        )
    if pace.bad_steps >= BAD_STEPS_ALLOWED:
        names = ", ".join(bad) or "the gradient"
        raise InputError(
            job.out / "bad_steps.jsonl",
            f"step {packed.step}",
            f"{names} not finite in {BAD_STEPS_ALLOWED} steps in a row (those steps were skipped)",
            "lower schedule.learning_rate, set schedule.precision=float32, or look at the images listed in that file",
        )


def _log(state: TrainState, losses: Losses, norm: Tensor, pace: _Pace, job: Job, context: RunContext) -> None:
    schedule = job.experiment.schedule
    if state.step % schedule.log_every and state.step != schedule.steps:
        return
    now = time.monotonic()
    metrics = _numbers(losses, state) | {
        "gradient_norm": float(norm),
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "images_per_second": pace.images / max(now - pace.since, 1e-6),
    }
    pace.since, pace.images = now, 0
    state.counters.check(job.experiment.data.quarantine_share, len(job.source.data.records))
    context.log(
        metrics | {"depth/cache_hits": state.counters.hits, "depth/inferences": state.counters.inferences},
        step=state.step,
    )


def _numbers(losses: Losses, state: TrainState) -> dict[str, float]:
    total = weigh({k: v.detach() for k, v in losses.terms.items()}, state.method.weights, state.step - 1)
    named = (
        {f"loss/{name}": value for name, value in losses.terms.items()} | dict(losses.figures) | {"loss/total": total}
    )
    values = torch.stack([v.detach().float() for v in named.values()])
    return dict(zip(named, values.tolist(), strict=True))


def _checkpoint(state: TrainState, job: Job, context: RunContext) -> None:
    context.before_checkpoint()
    state.save(job)

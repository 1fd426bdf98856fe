"""[Ray] Ray Tune runs a campaign: its searcher asks what comes next, its scheduler says what a report means, ASHA decides who stops."""

import json
import logging
import math
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from depthbox.train.stop import ENOUGH
from depthbox.tune.campaign import Campaign
from depthbox.tune.ledger import Trial
from depthbox.tune.planner import SweepPlan
from depthbox.tune.space import Search
from depthbox.tune.trial import Errand, TrialSetting, errand_of, run_trial

__all__ = ["Asha", "Watcher", "run_campaign"]

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow and the ledger say what Tune's files would
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
}
RESTARTS = 2
"""How often a trial whose process dies goes on from its checkpoint."""


class Asha:
    """The `Rule` of asynchronous successive halving, by Ray Tune's scheduler; each number's decision depends on those before it alone."""

    def __init__(self, search: Search) -> None:
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="score",
            mode="max",
            max_t=search.epochs,
            grace_period=min(search.grace, search.epochs),
            reduction_factor=search.factor,
            stop_last_trials=False,
        )
        self._known: set[int] = set()

    def __call__(self, number: int, epoch: int, score: float) -> bool:
        trial: Any = SimpleNamespace(trial_id=str(number))
        controller: Any = None
        if number not in self._known:
            self._known.add(number)
            self._scheduler.on_trial_add(controller, trial)
        result = {"epoch": epoch, "score": score}
        return self._scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP


@dataclass(slots=True, kw_only=True)
class Watcher:
    """Who is told what the trials do; `stop` asks all of them to end with a checkpoint."""

    out: Path
    say: Callable[[Trial], None] = lambda trial: None
    """Of each trial that has ended."""
    died: Callable[[Trial], None] = lambda trial: None
    """Of each trial whose process is gone and which ended nothing itself."""
    stopping: bool = False
    running: dict[int, Trial] = field(default_factory=dict)

    def stop(self) -> None:
        """May be called again: a trial that was only about to begin has missed it."""
        self.stopping = True
        for trial in list(self.running.values()):
            file = self.out / trial.folder / "stop"
            if file.parent.is_dir() and not file.exists():
                file.touch()


def run_campaign(campaign: Campaign, setting: TrialSetting, plan: SweepPlan, watcher: Watcher) -> None:
    """Run what is left, in the cluster this process is connected to. Returns when every trial has ended, or was asked to."""
    if not campaign.left():
        return
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    logging.getLogger("ray.tune").setLevel(logging.ERROR)

    def trial(config: dict[str, str]) -> dict[str, object]:
        return run_trial(setting, Errand(**json.loads(config["errand"])))

    storage, name = setting.out / "ray", uuid.uuid4().hex[:8]
    tuner = tune.Tuner(
        tune.with_resources(trial, {kind.lower(): value for kind, value in plan.trial.items() if value}),
        tune_config=tune.TuneConfig(
            search_alg=_Suggestions(campaign, watcher),
            scheduler=_Reports(campaign, watcher),
            num_samples=campaign.left(),
            max_concurrent_trials=plan.concurrency,
            # A process that has imported torch once serves one trial after the other.
            reuse_actors=True,
            trial_dirname_creator=lambda one: f"trial-{one.trial_id}",
        ),
        run_config=tune.RunConfig(
            # Tune's own bookkeeping; a new name each time, because the ledger alone says where a sweep goes on.
            name=name,
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


class _Suggestions(Searcher):
    """Hands the campaign's next trial to Tune."""

    def __init__(self, campaign: Campaign, watcher: Watcher) -> None:
        super().__init__()
        self._campaign, self._watcher = campaign, watcher
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """A dict, `FINISHED`, or None where a population's next part has to wait."""
        if self._watcher.stopping:
            return Searcher.FINISHED
        trial = self._campaign.next()
        if trial is None:
            return Searcher.FINISHED if self._campaign.exhausted else None
        self._watcher.running[trial.number], self._numbers[trial_id] = trial, trial.number
        members = self._campaign.search.trials if self._campaign.population else 0
        return {"errand": errand_of(trial, self._campaign.ledger.trials, members=members).as_text()}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """What ended well the scheduler has heard of. Of an error it hears each time a process dies, the searcher once Tune has given the trial up."""
        one = self._watcher.running.pop(self._numbers[trial_id], None) if error else None
        if one is None or one.ended:
            return
        self._campaign.end(one.number, "failed", error=f"its process died {RESTARTS + 1} times")
        self._watcher.died(one)
        self._watcher.say(one)

    def __getstate__(self) -> dict:
        """Tune keeps a copy to restore, which the ledger makes needless."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """The ledger is what is saved."""

    def restore(self, checkpoint_path: str) -> None:
        """Never: a sweep that goes on is a new one for Tune."""


class _Reports(FIFOScheduler):
    """Tells the campaign what trials report. A trial that should stop finds a stop file when its report returns, and ends in good order: Tune's own
    STOP would end its process in the middle of a step."""

    def __init__(self, campaign: Campaign, watcher: Watcher) -> None:
        super().__init__()
        self._campaign, self._watcher = campaign, watcher
        self._told: set[int] = set()

    def __getstate__(self) -> dict:
        return {}

    def on_trial_result(self, tune_controller: object, trial: Any, result: dict) -> str:
        number = _number(trial)
        if "outcome" in result:
            self._ended(number, result)
        elif "part" in result and number not in self._told:
            score = result.get(self._campaign.search.metric, float("nan"))
            scores = {name: value for name, value in result.items() if name in SCORES}
            if self._campaign.report(number, epoch=int(result["part"]), score=_rated(score), scores=scores):
                self._told.add(number)
                (self._watcher.out / self._campaign.ledger.trials[number].folder / "stop").write_text(ENOUGH)
        return TrialScheduler.CONTINUE

    def _ended(self, number: int, result: dict) -> None:
        one = self._watcher.running.pop(number, None)
        if one is None or result["outcome"] == "killed":
            return
        facts = {name: result[name] for name in ("seconds", "run_id", "error")}
        self._campaign.end(number, result["outcome"], **facts)
        self._watcher.say(one)


SCORES = ("mask_ap", "mask_ap50", "mask_ap75", "mask_iou", "box_ap", "box_ap50", "box_ap75")


def _number(trial: Any) -> int:
    return json.loads(trial.config["errand"])["number"]


def _rated(score: float) -> float:
    """No score is the worst."""
    return -1.0 if math.isnan(score) else score

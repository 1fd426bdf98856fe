"""[Ray] A sweep from a search to its best trial: the resources planned, the campaign run, every trial's MLflow run ended."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from depthbox.core.errors import InputError, UsageError
from depthbox.data.schema import CocoData
from depthbox.tracking import Status, open_tracker
from depthbox.train.inputs import data_root, depth_spec
from depthbox.train.local_resources import this_machine
from depthbox.tune.campaign import Campaign, Tally
from depthbox.tune.ledger import Ledger, Trial
from depthbox.tune.planner import SweepPlan, plan_sweep
from depthbox.tune.space import Search

if TYPE_CHECKING:
    from depthbox.tune.search import Watcher
    from depthbox.tune.trial import TrialSetting

__all__ = ["SweepPlace", "machines_at", "plan_of", "run_sweep"]

log = logging.getLogger("depthbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlace:
    """Where a sweep runs and is written down."""

    out: Path
    store: str
    study: str
    """The MLflow experiment."""
    tags: Mapping[str, str]
    """Of every trial's run."""
    command: str = ""


def machines_at(address: str) -> list[Mapping[str, float]]:
    """What each machine has: of the cluster at `address`, else this one alone, without starting anything."""
    if not (address or os.environ.get("RAY_ADDRESS")):
        return [this_machine()]
    from depthbox.train.ray_launch import start_ray

    start_ray(address)
    return _machines()


def plan_of(search: Search, machines: Sequence[Mapping[str, float]]) -> SweepPlan:
    """How many trials at once. Raises `InputError` with the arithmetic where not even one fits."""
    return plan_sweep(search.base, machines=machines, trials=search.trials, max_concurrent=search.max_concurrent)


def run_sweep(search: Search, place: SweepPlace, *, say: Callable[[Trial, Tally], None]) -> Tally:
    """Run the trials that are missing in a folder that is `claimed`; `say` hears of each that ends.

    Raises `InputError` where not one trial fits the cluster (at once, with the arithmetic) or the base experiment cannot run, `Interrupted` after
    Ctrl-C or SIGTERM (every trial has a checkpoint, its MLflow run is KILLED).
    """
    search.check()
    plan_of(search, machines_at(search.base.ray.address))
    checked = _checked(search, place)
    from depthbox.train.ray_launch import start_ray
    from depthbox.tune.search import Asha, Watcher

    start_ray(search.base.ray.address)
    plan = plan_of(search, _machines())
    asha = Asha(search) if search.scheduler == "asha" else None
    campaign = Campaign(search, Ledger(place.out / "trials.jsonl"), stops=asha or _never)
    settle = partial(_settle, place)
    for trial in campaign.settled:
        settle(trial, "FINISHED")
    watcher = Watcher(
        out=place.out, say=lambda trial: say(trial, campaign.tally()), died=lambda trial: settle(trial, "FAILED")
    )
    try:
        _run(campaign, _setting(checked, place, plan), plan, watcher)
    except BaseException:
        for trial in list(watcher.running.values()):
            settle(trial, "KILLED")
        raise
    return campaign.tally()


def _setting(search: Search, place: SweepPlace, plan: SweepPlan) -> "TrialSetting":
    from depthbox.tune.trial import TrialSetting

    base = replace(search.base, ray=replace(search.base.ray, threads=plan.threads))
    return TrialSetting(
        search=replace(search, base=base),
        out=place.out,
        store=place.store,
        study=place.study,
        tags=place.tags,
        command=place.command,
        threads=plan.threads,
    )


def _run(campaign: Campaign, setting: "TrialSetting", plan: SweepPlan, watcher: "Watcher") -> None:
    """In a thread of its own Tune leaves signals to this one."""
    import ray

    from depthbox.train.stop import Interrupted
    from depthbox.tune.search import run_campaign

    outcome: list[BaseException] = []

    def work() -> None:
        try:
            run_campaign(campaign, setting, plan, watcher)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="depthbox-tune", daemon=True)
    with _signals(watcher.stop):
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
                if watcher.stopping:
                    watcher.stop()
        except KeyboardInterrupt:
            ray.shutdown()
            raise
    if outcome:
        raise outcome[0]
    if watcher.stopping:
        raise Interrupted


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the trials to stop at their next step, with a checkpoint; a second one stops at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        log.warning("stopping the trials after their next step; once more stops at once")
        stop()

    main = threading.current_thread() is threading.main_thread()
    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _checked(search: Search, place: SweepPlace) -> Search:
    """The base experiment tried once, here, and its paths made absolute: a trial does not share this folder."""
    from depthbox.train.prepare import prepare

    root = data_root(search.base.data.root)
    base = replace(
        search.base,
        data=replace(search.base.data, root=str(root)),
        depth=replace(search.base.depth, source=depth_spec(search.base.depth.source, root)),
    )
    job = prepare(replace(base, out=str(place.out)))
    if job.val is None:
        raise UsageError("a sweep compares trials by their scores; give data.val.images= and data.val.annotations=")
    if search.metric.startswith("mask") and isinstance(job.val, CocoData) and not job.val.has_masks:
        raise InputError(
            job.val.source, "", f"has no masks, so there is no {search.metric}", "give masks, or search.metric=box_ap"
        )
    return replace(search, base=replace(base, model=job.experiment.model))


def _machines() -> list[Mapping[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _settle(place: SweepPlace, trial: Trial, status: Status) -> None:
    """End the MLflow run of a trial that has no process any more."""
    from depthbox.tune.trial import run_id_in

    folder = place.out / trial.folder
    run_id = run_id_in(folder)
    if not run_id:
        return
    try:
        tracker = open_tracker(
            place.store, experiment=place.study, run_name="", params={}, tags={}, run_id=run_id, out=folder
        )
        tracker.finish(status)
    except InputError as error:
        log.warning("trial %d is not marked %s: %s", trial.number, status, error)


def _never(number: int, epoch: int, score: float) -> bool:
    return False

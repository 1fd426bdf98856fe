"""[Ray] What a trial does in its own process: one watched run. What came of it is its last report, so that no error of a run costs the process."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import Experiment
from depthbox.train.checkpoint import hand_over
from depthbox.tune.ledger import Trial
from depthbox.tune.space import Search

__all__ = ["Errand", "TrialSetting", "errand_of", "run_trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSetting:
    """What all trials of a sweep share."""

    search: Search
    out: Path
    store: str
    study: str
    """The MLflow experiment."""
    tags: Mapping[str, str]
    command: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What one trial is to do, as plain JSON: Ray Tune copies, flattens and prints what it is given."""

    number: int
    title: str
    changes: Mapping[str, object]
    folder: str
    takes_over: str
    """The folder whose checkpoint it starts from; empty for none."""
    continues: str
    """The folder whose MLflow run it goes on with; empty for its own."""
    last_epoch: int

    def as_text(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def errand_of(trial: Trial, trials: Mapping[int, Trial], *, members: int) -> Errand:
    """`members` of a population (0: none)."""
    before = trials[trial.number - members] if members and trial.number >= members else None
    return Errand(
        number=trial.number,
        title=f"member {trial.number % members}" if members else f"trial {trial.number}",
        changes=trial.changes,
        folder=trial.folder,
        takes_over="" if trial.parent is None else trials[trial.parent].folder,
        continues=before.folder if before else "",
        last_epoch=trial.last_epoch,
    )


def run_trial(setting: TrialSetting, errand: Errand) -> dict[str, object]:
    """The trial's last report: `outcome` done, stopped, killed or failed, with its seconds, and the error's words."""
    import torch

    from depthbox.train.launch import Watch, run
    from depthbox.train.stop import Enough, Interrupted

    torch.set_num_threads(setting.threads)
    since, folder = time.monotonic(), setting.out / errand.folder
    pause_at = 0 if errand.last_epoch == setting.search.epochs else setting.search.step_after(errand.last_epoch)
    outcome, error = "done", ""
    try:
        _prepare_folder(setting, errand)
        watch = Watch(report=_report, reports=setting.search.epochs, pause_at=pause_at)
        run(_experiment(setting, errand), command=setting.command, tags=setting.tags, watch=watch)
    except Enough:
        outcome = "done" if pause_at else "stopped"
    except Interrupted:
        outcome = "killed"
    except (InputError, UsageError) as mistake:
        outcome, error = "failed", str(mistake)
    except Exception as mistake:
        outcome, error = "failed", f"{type(mistake).__name__}: {mistake}"
    seconds = time.monotonic() - since
    return {"outcome": outcome, "error": error, "seconds": seconds, "run_id": run_id_in(folder)}


def run_id_in(folder: Path) -> str:
    """The MLflow run that a run folder belongs to; empty for none."""
    record = folder / "run.json"
    return json.loads(record.read_text())["run_id"] if record.exists() else ""


def _experiment(setting: TrialSetting, errand: Errand) -> Experiment:
    experiment = setting.search.trial(errand.changes)  # type: ignore[arg-type]
    named = replace(experiment.tracking, uri=setting.store, experiment=setting.study, run_name=errand.title)
    return replace(experiment, out=str(setting.out / errand.folder), tracking=named)


def _prepare_folder(setting: TrialSetting, errand: Errand) -> None:
    folder = setting.out / errand.folder
    folder.mkdir(parents=True, exist_ok=True)
    if errand.takes_over:
        hand_over(setting.out / errand.takes_over, folder)
    record = setting.out / errand.continues / "run.json"
    if errand.continues and record.exists() and not (folder / "run.json").exists():
        shutil.copy2(record, folder / "run.json")


def _report(values: Mapping[str, float]) -> None:
    """Returns when the driver has looked at it, and has left a stop file if it has seen enough."""
    import ray.tune

    ray.tune.report(dict(values))

"""A sweep's next move, from its ledger: which trial comes next, whether one is told to stop, which is best. No Ray in here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from depthbox.tune.ledger import Ledger, Status, Trial
from depthbox.tune.population import next_part, parts_of
from depthbox.tune.proposals import proposed
from depthbox.tune.space import Search

__all__ = ["Campaign", "Rule", "Tally"]

Rule = Callable[[int, int, float], bool]
"""Trial, epoch, metric -> whether the trial should stop there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of a sweep."""

    trials: tuple[Trial, ...]
    best: Trial | None
    epochs_run: int


class Campaign:
    """Goes on where the ledger ends: trials that were under way come first, then those that failed, then new ones."""

    def __init__(self, search: Search, ledger: Ledger, *, stops: Rule) -> None:
        self.search, self.ledger, self._stops = search, ledger, stops
        for number, epoch, score in ledger.reports:
            # The rule learns what it knew; what it decided then is in the ledger.
            stops(number, epoch, score)
        self.settled = [one for one in ledger.trials.values() if one.condemned and not one.ended]
        """Told to stop before the sweep was killed: nothing is left to do but to say so."""
        for one in self.settled:
            ledger.end(one.number, "stopped")
        self._waiting = [one for one in ledger.trials.values() if not one.ended]
        self._waiting += [one for one in ledger.trials.values() if one.status == "failed" and not self._passed(one)]
        self.exhausted = False

    @property
    def population(self) -> bool:
        return self.search.scheduler == "population"

    @property
    def total(self) -> int:
        """Trials, or parts of a population's members, that the sweep may have."""
        return parts_of(self.search) if self.population else self.search.trials

    def left(self) -> int:
        """At most so many are still to be run."""
        return max(0, self.total - len(self.ledger.trials)) + len(self._waiting)

    def next(self) -> Trial | None:
        """The trial to begin now; None where there is none (`exhausted`), or none yet."""
        if self._waiting:
            first = self._waiting.pop(0)
            if first.status == "failed":
                self.ledger.retry(first.number)
            return first
        number = len(self.ledger.trials)
        if number >= self.total:
            self.exhausted = True
            return None
        later = self.population and number >= self.search.trials
        trial = self._part(number) if later else self._proposed(number)
        self.exhausted = trial is None and not later
        return None if trial is None else self.ledger.begin(trial)

    def report(self, number: int, *, epoch: int, score: float, scores: Mapping[str, float]) -> bool:
        """Whether the trial should stop now. An epoch that a resumed trial reports again counts once."""
        trial = self.ledger.trials[number]
        if epoch > trial.epoch and not trial.condemned:
            self.ledger.report(number, epoch=epoch, score=score, scores=scores)
            if self._stops(number, epoch, score) and epoch < trial.last_epoch:
                self.ledger.condemn(number)
        return trial.condemned

    def end(self, number: int, status: Status, *, seconds: float = 0.0, run_id: str = "", error: str = "") -> None:
        if not self.ledger.trials[number].ended:
            self.ledger.end(number, status, seconds=round(seconds, 2), run_id=run_id, error=error)

    def tally(self) -> Tally:
        trials = tuple(self.ledger.trials[number] for number in sorted(self.ledger.trials))
        through = [one for one in trials if one.status == "done" and one.epoch == self.search.epochs]
        rated = through or [one for one in trials if one.status in ("done", "stopped") and one.curve]
        epochs = sum(self._own_epochs(one) for one in trials)
        return Tally(trials=trials, best=max(rated, key=_rank, default=None), epochs_run=epochs)

    def _own_epochs(self, trial: Trial) -> int:
        start = 0 if trial.parent is None else self.ledger.trials[trial.parent].epoch
        return max(0, trial.epoch - start)

    def _passed(self, trial: Trial) -> bool:
        """Whether the population has gone on without that part."""
        generation = trial.number // self.search.trials
        return self.population and len(self.ledger.trials) > (generation + 1) * self.search.trials

    def _proposed(self, number: int) -> Trial | None:
        known = [self.ledger.trials[one] for one in sorted(self.ledger.trials)]
        changes = proposed(self.search, number, known)
        if changes is None:
            return None
        digest = self.search.digest_of(changes)
        last = min(self.search.interval, self.search.epochs) if self.population else self.search.epochs
        folder = _part_folder(number, 0) if self.population else digest
        return Trial(number=number, digest=digest, changes=changes, folder=folder, last_epoch=last)

    def _part(self, number: int) -> Trial | None:
        part = next_part(self.search, number, self.ledger.trials)
        if part is None:
            return None
        return Trial(
            number=number,
            digest=self.search.digest_of(part.changes),
            changes=dict(part.changes),
            folder=_part_folder(part.member, number // self.search.trials),
            parent=part.parent,
            last_epoch=part.last_epoch,
        )


def _part_folder(member: int, generation: int) -> str:
    return f"member-{member:02d}/part-{generation:02d}"


def _rank(trial: Trial) -> tuple[float, int]:
    assert trial.score is not None
    return trial.score, -trial.number

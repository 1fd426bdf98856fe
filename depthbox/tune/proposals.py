"""Which settings the next trial takes. A proposal depends on the search, its number and what has been learned, and on no other state:
asked again after a restart it is the same."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from depthbox.tune.ledger import Trial
from depthbox.tune.space import Choice, Domain, LogUniform, Search, Uniform, Value

if TYPE_CHECKING:
    import optuna

__all__ = ["proposed"]

ATTEMPTS = 20


def proposed(search: Search, number: int, known: Sequence[Trial]) -> dict[str, Value] | None:
    """The settings of trial `number`; None where the space has no further combination.

    `known` are the trials before it, ended or not; one that is there already is not proposed again.
    """
    if search.sampler == "grid":
        cells = search.grid()
        return cells[number] if number < len(cells) else None
    taken = {search.digest_of(trial.changes) for trial in known}
    for attempt in range(ATTEMPTS):
        changes = _sampled(search, known, seed=_seed(search.seed, number, attempt))
        if search.digest_of(changes) not in taken:
            return changes
    return None


def _sampled(search: Search, known: Sequence[Trial], *, seed: int) -> dict[str, Value]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tpe = search.sampler == "tpe"
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True) if tpe else optuna.samplers.RandomSampler(seed)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    axes = {path: _distribution(domain) for path, domain in search.space.items()}
    for trial in sorted(known, key=lambda one: one.number):
        study.add_trial(_as_optuna(trial, search, axes))
    drawn = study.ask(axes).params
    return {path: _value(search.space[path], drawn[path]) for path in search.space}


def _as_optuna(
    trial: Trial, search: Search, axes: "dict[str, optuna.distributions.BaseDistribution]"
) -> "optuna.trial.FrozenTrial":
    """An unfinished trial counts as one that is under way; one that was stopped by what it had reached, after the finished ones."""
    from optuna.trial import TrialState, create_trial

    params = {path: _key(domain, trial.changes[path]) for path, domain in search.space.items()}
    states = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    state = states.get(trial.status, TrialState.RUNNING)
    return create_trial(
        state=state,
        params=params,
        distributions=axes,
        value=trial.score if state == TrialState.COMPLETE else None,
        intermediate_values=dict(trial.curve),
    )


def _distribution(domain: Domain) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(range(len(domain.values)))
    return FloatDistribution(domain.low, domain.high, log=isinstance(domain, LogUniform))


def _value(domain: Domain, drawn: Value) -> Value:
    if isinstance(domain, Choice):
        return domain.values[int(drawn)]
    # Four digits: a setting that a person can type again.
    return min(max(float(f"{drawn:.4g}"), domain.low), domain.high)


def _key(domain: Domain, value: Value) -> Value:
    assert isinstance(domain, Choice | Uniform | LogUniform)
    return domain.values.index(value) if isinstance(domain, Choice) else value


def _seed(*parts: int) -> int:
    return random.Random(repr(parts)).getrandbits(31)

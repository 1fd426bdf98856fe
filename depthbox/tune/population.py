"""Population based training (arXiv 1711.09846), in step: all members train for some epochs, the worst quarter takes over from the best, and so on.

Every member's part between two exchanges is a trial of its own, which starts from a handed-over checkpoint: a schedule is what the parts string together.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from depthbox.tune.ledger import Trial
from depthbox.tune.space import Search, Value

__all__ = ["Part", "next_part", "parts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a member does between two exchanges."""

    member: int
    changes: Mapping[str, Value]
    parent: int | None
    """The trial whose checkpoint it takes; None for new weights."""
    last_epoch: int


def parts_of(search: Search) -> int:
    """How many trials the whole population is."""
    return search.trials * -(-search.epochs // search.interval)


def next_part(search: Search, number: int, known: Mapping[int, Trial]) -> Part | None:
    """The trial `number`, or None while a member of the generation before it is still training. The first generation is not asked for here."""
    size = search.trials
    generation, member = divmod(number, size)
    before = [known.get((generation - 1) * size + one) for one in range(size)]
    if any(one is None or not one.ended for one in before):
        return None
    own, donor = before[member], _donor(search, number, [one for one in before if one is not None])
    assert own is not None
    changes = own.changes if donor is own else _mutated(search, donor.changes, number)
    last = min((generation + 1) * search.interval, search.epochs)
    return Part(member=member, changes=changes, parent=donor.number, last_epoch=last)


def _donor(search: Search, number: int, before: Sequence[Trial]) -> Trial:
    """Itself, but for the worst quarter, and for what has failed: one of the best quarter."""
    ranked = sorted(before, key=_merit, reverse=True)
    quarter = max(1, round(len(ranked) / 4)) if len(ranked) > 1 else 0
    own = before[number % search.trials]
    if own.status != "failed" and own not in ranked[len(ranked) - quarter :]:
        return own
    best = [one for one in ranked[:quarter] if one.status != "failed"]
    return random.Random(repr((search.seed, "donor", number))).choice(best) if best else own


def _mutated(search: Search, changes: Mapping[str, Value], number: int) -> dict[str, Value]:
    draw = random.Random(repr((search.seed, "mutation", number)))
    return {path: domain.mutated(changes[path], draw) for path, domain in search.space.items()}


def _merit(trial: Trial) -> tuple[float, int]:
    """The lower number first where two are equal."""
    score = trial.score if trial.status != "failed" and trial.score is not None else float("-inf")
    return score, -trial.number

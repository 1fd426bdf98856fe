"""What comes next, who stops, which is best: the same after a kill as without one."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest

from depthbox.commands.definition import load_value
from depthbox.commands.sweep import load_search, resolved_search
from depthbox.core.errors import InputError, UsageError
from depthbox.recipes import box_depth
from depthbox.tune.campaign import Campaign
from depthbox.tune.ledger import Ledger
from depthbox.tune.proposals import proposed
from depthbox.tune.space import Choice, LogUniform, Search, Uniform

optuna = pytest.importorskip("optuna", reason="sweeps need optuna")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SEARCH = Search(
    base=box_depth(),
    space={
        "method.weights.depth_affinity": Uniform(0.0, 1.0),
        "schedule.learning_rate": LogUniform(1e-4, 1e-2),
        "method.distillation.matching": Choice("depth_aware", "greedy"),
    },
    trials=16,
    epochs=4,
)
GRID = replace(
    SEARCH,
    sampler="grid",
    space={"method.weights.depth_affinity": Choice(0.0, 0.1, 0.3, 1.0), "method.depth_threshold": Choice(0.3, 0.5)},
)


def score_of(changes: dict, epoch: int) -> float:
    """The same at every epoch but for its size, so that an early look is a good one."""
    return epoch * (1 - abs(changes["method.weights.depth_affinity"] - 0.3))


def worse_than_before():
    """A rule that depends on the order of what it hears, as ASHA does."""
    best: dict[int, float] = {}

    def stops(number: int, epoch: int, score: float) -> bool:
        stop = score < best.get(epoch, -1.0)
        best[epoch] = max(score, best.get(epoch, -1.0))
        return stop

    return stops


def play(campaign: Campaign, *, kill_after: float = float("inf")) -> bool:
    """One slot, trials made of `score_of`; False where the driver was killed after so many moves."""
    moves = itertools.count()
    while (trial := campaign.next()) is not None:
        start = 0 if trial.parent is None else campaign.ledger.trials[trial.parent].epoch
        for epoch in range(max(trial.epoch, start) + 1, trial.last_epoch + 1):
            if next(moves) >= kill_after:
                return False
            if campaign.report(trial.number, epoch=epoch, score=score_of(trial.changes, epoch), scores={}):
                break
        if next(moves) >= kill_after:
            return False
        campaign.end(trial.number, "stopped" if trial.condemned else "done")
    assert campaign.exhausted
    return True


def facts(campaign: Campaign) -> list:
    return [(one.number, one.digest, one.status, one.curve) for one in campaign.tally().trials]


@pytest.mark.parametrize("scheduler", ["asha", "none", "population"])
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_killed_campaign_ends_where_the_uninterrupted_one_does(tmp_path, scheduler, sampler) -> None:
    search = replace(GRID if sampler == "grid" else SEARCH, scheduler=scheduler, trials=8, interval=1)
    rule = worse_than_before if scheduler == "asha" else lambda: lambda *_: False
    whole = Campaign(search, Ledger(tmp_path / "whole.jsonl"), stops=rule())
    assert play(whole)
    for kill_after in (0, 1, 5, 11, 14):
        file = tmp_path / f"{kill_after}.jsonl"
        assert not play(Campaign(search, Ledger(file), stops=rule()), kill_after=kill_after)
        again = Campaign(search, Ledger(file), stops=rule())
        ended = {one.number for one in again.ledger.trials.values() if one.ended}
        begun = []
        original = again.next
        again.next = lambda original=original, begun=begun: (t := original()) and (begun.append(t.number), t)[1]
        assert play(again)
        assert not ended & set(begun), "a finished trial ran again"
        assert facts(again) == facts(whole)
        assert again.tally().best.number == whole.tally().best.number
        assert again.tally().epochs_run == whole.tally().epochs_run


def test_a_line_cut_short_by_a_kill_has_not_happened(tmp_path) -> None:
    file = tmp_path / "trials.jsonl"
    campaign = Campaign(GRID, Ledger(file), stops=lambda *_: False)
    first = campaign.next()
    campaign.report(first.number, epoch=1, score=0.5, scores={})
    file.write_text(file.read_text() + '{"event": "end", "num')
    again = Ledger(file)
    assert not again.trials[0].ended and again.trials[0].curve == {1: 0.5}
    again.end(0, "done")
    assert Ledger(file).trials[0].status == "done"
    file.write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1"):
        Ledger(file)


def test_an_epoch_reported_again_after_a_resume_counts_once(tmp_path) -> None:
    heard = []
    campaign = Campaign(GRID, Ledger(tmp_path / "t.jsonl"), stops=lambda *what: bool(heard.append(what)))
    number = campaign.next().number
    for _ in range(2):
        campaign.report(number, epoch=1, score=0.5, scores={})
    assert heard == [(number, 1, 0.5)]


def test_a_failed_trial_is_tried_again_by_the_next_command_only(tmp_path) -> None:
    file = tmp_path / "t.jsonl"
    campaign = Campaign(replace(GRID, trials=2), Ledger(file), stops=lambda *_: False)
    campaign.end(campaign.next().number, "failed", error="broken")
    campaign.end(campaign.next().number, "done")
    assert campaign.next() is None and campaign.exhausted
    again = Campaign(replace(GRID, trials=2), Ledger(file), stops=lambda *_: False)
    assert again.left() == 1 and again.next().number == 0 and again.next() is None


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_proposal_depends_on_seed_number_and_what_is_known(tmp_path, sampler) -> None:
    search = replace(SEARCH, sampler=sampler, trials=14, scheduler="none")
    campaign = Campaign(search, Ledger(tmp_path / "t.jsonl"), stops=lambda *_: False)
    play(campaign)
    known = list(campaign.tally().trials)
    assert proposed(search, 14, known) == proposed(search, 14, list(reversed(known)))
    assert proposed(search, 14, known) != proposed(replace(search, seed=1), 14, known)
    for trial in known:
        assert 0 <= trial.changes["method.weights.depth_affinity"] <= 1
        assert 1e-4 <= trial.changes["schedule.learning_rate"] <= 1e-2


def test_tpe_learns_where_the_good_ones_are(tmp_path) -> None:
    found = {}
    for sampler in ("tpe", "random"):
        search = replace(SEARCH, sampler=sampler, trials=40, scheduler="none")
        campaign = Campaign(search, Ledger(tmp_path / f"{sampler}.jsonl"), stops=lambda *_: False)
        play(campaign)
        late = [one.score for one in campaign.tally().trials[20:]]
        found[sampler] = sum(late) / len(late)
    assert found["tpe"] > found["random"]


def test_a_grid_has_every_cell_once_and_no_trial_is_proposed_twice(tmp_path) -> None:
    campaign = Campaign(
        replace(GRID, trials=99, scheduler="none"), Ledger(tmp_path / "g.jsonl"), stops=lambda *_: False
    )
    play(campaign)
    assert len({one.digest for one in campaign.tally().trials}) == 8 == len(campaign.tally().trials)
    few = replace(SEARCH, sampler="tpe", trials=99, scheduler="none", space={"batch_size": Choice(2, 4, 8)})
    campaign = Campaign(few, Ledger(tmp_path / "f.jsonl"), stops=lambda *_: False)
    while (trial := campaign.next()) is not None:
        campaign.report(trial.number, epoch=4, score=0.1, scores={})
        campaign.end(trial.number, "done")
    assert sorted(one.changes["batch_size"] for one in campaign.tally().trials) == [2, 4, 8]


def test_the_worst_quarter_takes_over_from_the_best_with_changed_settings(tmp_path) -> None:
    search = replace(SEARCH, scheduler="population", trials=8, interval=1)
    campaign = Campaign(search, Ledger(tmp_path / "p.jsonl"), stops=lambda *_: False)
    play(campaign)
    trials = campaign.ledger.trials
    first = sorted(range(8), key=lambda n: trials[n].score)
    for number in range(8, 16):
        own = trials[number - 8]
        if own.number in first[:2]:
            assert trials[number].parent in first[-2:]
            assert trials[number].changes != trials[trials[number].parent].changes
        else:
            assert trials[number].parent == own.number and trials[number].changes == own.changes
    assert [trials[n].last_epoch for n in (0, 8, 16, 24)] == [1, 2, 3, 4] and len(trials) == 32
    assert campaign.tally().best.epoch == 4 and campaign.tally().epochs_run == 32


def test_a_mutation_stays_in_its_domain() -> None:
    draw = random.Random(0)
    for domain, start in ((Uniform(0.0, 1.0), 0.9), (LogUniform(1e-4, 1e-2), 1e-4), (Choice(1, 2, 4), 4)):
        value = start
        for _ in range(50):
            value = domain.mutated(value, draw)
            low, high = (1, 4) if isinstance(domain, Choice) else (domain.low, domain.high)
            assert low <= value <= high


def test_asha_stops_the_lower_ones_and_learns_from_a_replay() -> None:
    pytest.importorskip("ray", reason="ASHA is Ray Tune's")
    from depthbox.tune.search import Asha

    search = replace(SEARCH, epochs=4, grace=1, factor=2)
    asha = Asha(search)
    assert [asha(n, 1, s) for n, s in enumerate((0.5, 0.1, 0.6, 0.2))] == [False, True, False, True]
    again = Asha(search)
    for n, s in enumerate((0.5, 0.1, 0.6)):
        again(n, 1, s)
    assert again(3, 1, 0.2) and not again(4, 1, 0.55)


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("search_*.py")), ids=lambda file: file.stem)
def test_every_search_of_the_repository_builds_its_trials(file, tmp_path) -> None:
    search = load_search(file)
    search.check()
    campaign = Campaign(search, Ledger(tmp_path / "t.jsonl"), stops=lambda *_: False)
    trials = [campaign.next() for _ in range(6)]
    assert len({one.digest for one in trials}) == 6
    for one in trials:
        assert search.trial(one.changes).schedule.evaluate_every * search.epochs >= search.base.schedule.steps


def test_the_searches_are_those_of_the_issue() -> None:
    assert {"search_depth_cost.py", "search_distillation.py"} <= {file.name for file in EXPERIMENTS.glob("search_*.py")}


def test_words_say_how_to_search_or_what_the_base_is(tmp_path) -> None:
    words = ["trials=3", "search.max_concurrent=2", "search.scheduler=population", "schedule.steps=12", "out=x"]
    search = resolved_search(SEARCH, words)
    assert (search.trials, search.max_concurrent, search.scheduler) == (3, 2, "population")
    assert search.base.schedule.steps == 12 and search.base.out == "x"
    for word, why in (
        ("schedule.learning_rate=1", "is searched over"),
        ("search.trails=3", "did you mean trials"),
        ("search.space=3", "what the file is for"),
        ("search.scheduler=hyperband", "allowed are asha"),
    ):
        with pytest.raises(UsageError, match=why):
            resolved_search(SEARCH, [word])
    for how in (["trials=0"], ["search.factor=1"], ["search.sampler=grid"]):
        with pytest.raises(UsageError):
            resolved_search(SEARCH, how).check()
    with pytest.raises(UsageError, match="method.weights.nothing"):
        replace(SEARCH, space={"method.weights.nothing": Uniform(0, 1)}).check()
    with pytest.raises(InputError, match="write SEARCH"):
        (tmp_path / "s.py").write_text("SEARCH = 3")
        load_value(tmp_path / "s.py", "SEARCH", Search, example="Search(...)")


def test_the_digest_is_the_search_and_not_the_place() -> None:
    elsewhere = resolved_search(
        SEARCH, ["data.root=/mnt/photos", "launcher=local", "trials=3", "search.max_concurrent=1"]
    )
    assert elsewhere.digest == SEARCH.digest
    assert resolved_search(SEARCH, ["search.seed=1"]).digest != SEARCH.digest
    assert elsewhere.digest_of({}) == SEARCH.digest_of({})

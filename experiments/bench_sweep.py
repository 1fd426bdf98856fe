"""What does a sweep cost beside its trials, and what does ASHA save? Prints the figures with their targets.

`overhead`: trials of a few steps; seconds a trial beside its run (target 1.5 with the local launcher, 15 with Ray Train). `efficiency`: the sum of the
trials' seconds over wall x slots, from the first trial's beginning to the last one's end, start of processes included (target 0.85).
`asha`: the same grid to the end and with ASHA; the share of epochs (target 0.6) and whether the winner is the grid's.

    uv run depthbox demo                                              # renders the scenes
    uv run python experiments/bench_sweep.py experiments/search_depth_cost.py data.root=out/demo/scenes parts=overhead,efficiency,asha
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from depthbox.commands.sweep import load_search, resolved_search
from depthbox.core.config import parse_overrides, vary
from depthbox.tune.campaign import Tally
from depthbox.tune.folder import claimed
from depthbox.tune.ledger import Trial
from depthbox.tune.space import Search
from depthbox.tune.sweep import SweepPlace, machines_at, plan_of, run_sweep

TRIALS = 8


def main() -> None:
    file, words = Path(sys.argv[1]), parse_overrides(sys.argv[2:])
    parts, few = words.pop("parts", "overhead,efficiency,asha").split(","), int(words.pop("few", "8"))
    search = resolved_search(load_search(file), [f"{path}={value}" for path, value in words.items()])
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        ways: Mapping[str, Callable[[], dict[str, object]]] = {
            "overhead": lambda: {way: overhead(search, out, way, steps=few) for way in ("local", "ray")},
            "efficiency": lambda: costs(
                replace(search, trials=TRIALS, scheduler="none", sampler="random"), out / "whole"
            ),
            "asha": lambda: asha(search, out),
        }
        for part in parts:
            found[part] = ways[part]()
            print(json.dumps({part: found[part]}), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


def overhead(search: Search, out: Path, way: str, *, steps: int) -> dict[str, object]:
    base = vary(search.base, {"launcher": way, "schedule.steps": steps})
    trials = TRIALS if way == "local" else 3
    short = replace(search, base=base, trials=trials, epochs=2, scheduler="none", sampler="random")
    return costs(short, out / f"overhead-{way}")


def costs(search: Search, out: Path) -> dict[str, object]:
    slots, tally = run(search, out)
    begun = min(one.times[0] for one in tally.trials)
    wall, busy = max(one.times[-1] for one in tally.trials) - begun, sum(one.seconds for one in tally.trials)
    # A slot's first trial waits for its process to start and import torch.
    first = [one for one in tally.trials if one.number < slots]
    later = [one.times[-1] - one.times[0] - one.seconds for one in tally.trials if one not in first]
    return {
        "trials": len(tally.trials),
        "slots": slots,
        "failed": sum(one.status == "failed" for one in tally.trials),
        "wall_s": round(wall, 1),
        "run_s_a_trial": round(busy / len(tally.trials), 2),
        "overhead_s_a_trial": round((wall * slots - busy) / len(tally.trials), 2),
        "overhead_s_a_trial_in_a_warm_process": round(sum(later) / max(len(later), 1), 2),
        "efficiency": round(busy / (wall * slots), 3),
    }


def asha(search: Search, out: Path) -> dict[str, object]:
    grid = replace(search, sampler="grid", scheduler="none", trials=len(replace(search, sampler="grid").grid()))
    whole, quick = (run(replace(grid, scheduler=how), out / f"grid-{how}")[1] for how in ("none", "asha"))
    assert whole.best is not None and quick.best is not None
    return {
        "trials": len(whole.trials),
        "grid_epochs": whole.epochs_run,
        "asha_epochs": quick.epochs_run,
        "share": round(quick.epochs_run / whole.epochs_run, 3),
        "grid_winner": dict(whole.best.changes),
        "asha_winner": dict(quick.best.changes),
        "same_winner": whole.best.digest == quick.best.digest,
        "grid_scores": sorted((round(one.score, 4) for one in whole.trials if one.score is not None), reverse=True),
    }


def run(search: Search, out: Path) -> tuple[int, Tally]:
    slots = plan_of(search, machines_at(search.base.ray.address)).concurrency
    with claimed(search, out):
        return slots, run_sweep(search, SweepPlace(out=out, store="none", study="bench", tags={}), say=said)


def said(trial: Trial, _: Tally) -> None:
    print(f"trial {trial.number} {trial.status} {trial.error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

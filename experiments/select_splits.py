"""Which frames should be labelled, for every criterion and seed: the lists of `table_depth_ssda_selection.py` and `table_depth_ssda_camvid.py`.

    uv run python experiments/select_splits.py name=blocks_video data.root=BLOCKS images='video/seq_0[0-5]/frame_*.jpg' count=6 depth.source=run:out/sde
    uv run python experiments/select_splits.py name=camvid data.root=CAMVID images=train count=9 seeds=3

The photos are looked at once; `depthbox select` does the same for one criterion and seed. Each list says what it was made with.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.config import parse_overrides, vary
from depthbox.depth.estimator import build_estimator
from depthbox.experiment import DepthConfig
from depthbox.stages.selecting import Root, names_below
from depthbox.train.inputs import data_root, depth_spec, files_of
from depthbox.train.selection import By, choose, read_pool

SPLITS = Path(__file__).resolve().parent / "splits"
CRITERIA: tuple[By, ...] = ("diversity", "uncertainty", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    name: str = "blocks_video"
    images: str = ""
    count: int = 6
    seeds: int = 10
    steps: int = 150
    depth: DepthConfig = DepthConfig()
    data: Root = Root()


def main(words: list[str]) -> None:
    asked = vary(Question(), parse_overrides(words))
    root = data_root(asked.data.root)
    estimator = build_estimator(depth_spec(asked.depth.source, root), device=asked.depth.device)
    assert estimator is not None, "depth.source=none has no network to look into"
    pool = read_pool(files_of(asked.images, root, name="images"), estimator)
    names = names_below(pool.paths)
    for seed in range(asked.seeds):
        for by in CRITERIA:
            picks = choose(pool, asked.count, by=by, steps=asked.steps, seed=seed)
            chosen = sorted(names[pick.index] for _, pick in picks)
            file = SPLITS / f"{asked.name}_{by}_{seed}.txt"
            file.write_text("\n".join([f"# {by}, seed {seed}, depth {estimator.name.partition(':')[0]}", *chosen, ""]))
            print(file.name, *chosen, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

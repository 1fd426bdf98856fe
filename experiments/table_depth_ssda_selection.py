"""Which six of 180 frames should be labelled? Random, unlike one another, hard for a student of their depth, or both; the rest of the method is the same.

Expected: selection beats random over all frames, both criteria together most (published: +2.3 mIoU at 100 of 2975). Ten seeds: with
five the interval of what selection brings held 0, because one random draw of five was very bad. 1 to 6 minutes a cell.

    uv run depthbox ablate experiments/table_depth_ssda_selection.py data.root=BLOCKS sde=out/sde model.weights=mobilenetv2_100.safetensors

The lists lie in `splits/`; those of selection are from two networks like that one (seeds 0 to 4 and 5 to 9);
`select_splits.py` makes them again. Random lists are those of `depthbox data split percent=3.3333 seed=N` (0 to 4: of an earlier generator).
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_depth_ssda.py"), "TABLE", Ablation, example="Ablation(...)")

TABLE = replace(
    LADDER,
    seeds=tuple(range(10)),
    rows={
        by: {**LADDER.rows["+ DepthMix"], "data.train.labelled": f"experiments/splits/blocks_video_{by}_{{seed}}.txt"}
        for by in ("random", "diversity", "uncertainty", "both")
    },
)
"""The row "random" is "+ DepthMix" of the ladder: with the same `sde` their cells are the same."""

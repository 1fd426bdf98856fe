"""Does depth learnt from one's own video serve box supervision as well as the built-in network's? Boxes only, no outside depth network.

Expected: within one mask AP of the built-in estimator. Cost: as `table_box_depth.py`, whose rows of estimated disparity are the comparison.

    uv run depthbox ablate experiments/table_box_depth_video.py data.root=BLOCKS/instances sde=out/sde model.weights=mobilenetv2_100.safetensors

`sde` is a finished `depthbox train sde` on video of the same kind (the first stage of `stages_blocks.py`).
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_box_depth.py"), "TABLE", Ablation, example="Ablation(...)")
ROWS = ("system and relief", "system")

TABLE = replace(
    LADDER,
    runs={"sde": ""},
    rows={f"{name}, built-in": LADDER.rows[f"{name}, estimated"] for name in ROWS}
    | {f"{name}, own video": {**LADDER.rows[f"{name}, estimated"], "depth.source": "run:{sde}"} for name in ROWS},
)
"""The rows "built-in" are the rows "estimated" of the ladder, and their cells are the same."""

"""What does PL-DC reach in twice the steps? As `table_pl_dc.py` with 1200, one seed.

    uv run depthbox ablate experiments/table_pl_dc_long.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

Expected: supervision alone has learnt its 18 images long before, pseudo labels still teach. Then the teacher grows sure of what it repeats, so the second opinion
keeps a share to the end, and what is not kept weighs less as background. Cost: up to 12 minutes a cell on two cores.
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.core.config import vary
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_pl_dc.py"), "TABLE", Ablation, example="Ablation(...)")

TO_THE_END = {"method.category_last": 0.6, "method.detector.pseudo_background": 0.3}
OURS = LADDER.rows["PL-DC, cut-outs and relief"]

TABLE = replace(
    LADDER,
    base=vary(LADDER.base, {"schedule.steps": 1200}),
    seeds=(0,),
    rows={
        "supervised only": LADDER.rows["supervised only"],
        "cut-outs and relief": OURS,
        "cut-outs and relief to the end": {**OURS, **TO_THE_END},
        "all labels": LADDER.rows["all labels"],
    },
)

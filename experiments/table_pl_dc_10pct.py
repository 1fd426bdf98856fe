"""Does PL-DC hold at twice the labels? Masks of 10 % of the images (36 of 360), one seed, all else as in `table_pl_dc.py`.

uv run depthbox ablate experiments/table_pl_dc_10pct.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.core.config import vary
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_pl_dc.py"), "TABLE", Ablation, example="Ablation(...)")

TABLE = replace(
    LADDER,
    base=vary(LADDER.base, {"data.train.labelled": "annotations/semi_splits.json:labelled_10pct"}),
    seeds=(0,),
    rows={name: LADDER.rows[name] for name in ("supervised only", "PL-DC", "PL-DC, cut-outs and relief")},
)

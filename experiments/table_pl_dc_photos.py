"""Does PL-DC hold on photos? Penn-Fudan with masks for 12 of 120 photos, one seed, all else as in `table_pl_dc.py`; there is one class to confuse.

    uv run depthbox ablate experiments/table_pl_dc_photos.py data.root=PENNFUDAN model.weights=mobilenetv2_100.safetensors

From the repository's root: the split is `experiments/splits/pennfudan_10pct.txt`, made by `depthbox data split ... percent=10 seed=0` when that
drew by another generator: the list is what counts.
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.core.config import vary
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_pl_dc.py"), "TABLE", Ablation, example="Ablation(...)")

WORKING_POINT = {
    "data.train.images": "images",
    "data.train.labelled": "experiments/splits/pennfudan_10pct.txt",
    "data.val.images": "images",
    "data.views.short_side": 224,
    "data.views.max_side": 384,
    "schedule.steps": 400,
}

TABLE = replace(
    LADDER,
    base=vary(LADDER.base, WORKING_POINT),
    seeds=(0,),
    rows={name: LADDER.rows[name] for name in ("supervised only", "PL-DC", "PL-DC, cut-outs alone", "all labels")},
)

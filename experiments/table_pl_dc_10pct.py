"""Does PL-DC hold at twice the labels? Masks of 10 % of the images (36 of 360), one seed.

uv run depthbox ablate experiments/table_pl_dc_10pct.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors
"""

from depthbox.core.config import vary
from depthbox.recipes import pl_dc
from depthbox.report.ablation import Ablation

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/instances_train.json",
    "data.train.labelled": "annotations/semi_splits.json:labelled_10pct",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 192,
    "data.views.max_side": 256,
    "model.query.queries": 40,
    "model.query.layers": 3,
    "model.weights": "builtin",
    "method.burn_in": 0.2,
    "schedule.steps": 600,
    "schedule.evaluate_every": 150,
    "launcher": "local",
}

TABLE = Ablation(
    base=vary(pl_dc(), WORKING_POINT),
    metrics=("mask_ap", "best_mask_ap", "mask_ap50", "mask_ap75", "box_ap"),
    seeds=(0,),
    rows={"supervised only": {"method.burn_in": 1.0, "data.labelled_share": 1.0}, "PL-DC": {}},
)

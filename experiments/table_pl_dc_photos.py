"""Does PL-DC hold on photos? Penn-Fudan with masks for 12 of 120 photos, one seed; what is believed may differ where there is one class.

    uv run depthbox ablate experiments/table_pl_dc_photos.py data.root=PENNFUDAN model.weights=mobilenetv2_100.safetensors

From the repository's root: the split is `experiments/splits/pennfudan_10pct.txt`, made by `depthbox data split ... percent=10 seed=0` when that
drew by another generator: the list is what counts.
"""

from depthbox.core.config import vary
from depthbox.recipes import pl_dc
from depthbox.report.ablation import Ablation

WORKING_POINT = {
    "data.train.images": "images",
    "data.train.annotations": "annotations/instances_train.json",
    "data.train.labelled": "experiments/splits/pennfudan_10pct.txt",
    "data.val.images": "images",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 224,
    "data.views.max_side": 384,
    "model.query.queries": 40,
    "model.query.layers": 3,
    "model.weights": "builtin",
    "method.burn_in": 0.2,
    "schedule.steps": 400,
    "schedule.evaluate_every": 100,
    "launcher": "local",
}

TABLE = Ablation(
    base=vary(pl_dc(), WORKING_POINT),
    metrics=("mask_ap", "best_mask_ap", "mask_ap50", "mask_ap75", "box_ap"),
    seeds=(0,),
    rows={
        "supervised only": {"method.burn_in": 1.0, "data.labelled_share": 1.0},
        "PL-DC": {},
        "all labels": {"method.burn_in": 1.0, "data.labelled_share": 1.0, "data.train.labelled": ""},
    },
)

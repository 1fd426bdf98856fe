"""The ladder of `table_pl_dc.py` with queries (masked attention) instead of a detector: masks of 5 % of the camouflaged scenes, nothing of the others.

Expected: all labels are a sixth below the detector's after as many steps, and 18 scenes teach less than half as much, so there is more for a teacher to bring. Cost: about
15 minutes a cell on one core with bfloat16.

    uv run depthbox ablate experiments/table_pl_dc_query.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

"supervised only" is the same method without a teacher: same views and steps, every image of a step labelled, so that it sees twice as many labelled images a
step as the others do. `best_mask_ap` is that of the best of its evaluations, `mask_ap` that of the last: few labels are overfitted late, so compare with the better.
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.core.config import vary
from depthbox.recipes import guided_distillation, pl_dc
from depthbox.report.ablation import Ablation

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/instances_train.json",
    "data.train.labelled": "annotations/semi_splits.json:labelled_5pct",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 192,
    "data.views.max_side": 256,
    "data.views.scale": (0.8, 1.2),
    "model.query.queries": 40,
    "model.query.layers": 3,
    "model.weights": "builtin",
    "method.burn_in": 0.2,
    "schedule.steps": 600,
    "schedule.evaluate_every": 150,
    "batch_size": 8,
    "launcher": "local",
}

ALONE = {"method.burn_in": 1.0, "data.labelled_share": 1.0}
COUPLED = {
    "method.kept_by": "coupled",
    "method.class_threshold": 0.75,
    "method.category": "off",
    "method.uncertainty": False,
}
"""0.75 is the product of the two thresholds, near enough."""
TWO = {"method.category": "off", "method.uncertainty": False}
LOOSE = {"data.labelled_share": 0.25, "method.class_threshold": 0.5, "method.mask_threshold": 0.75}
"""The published thresholds keep a quarter of the objects here, and hardly a wrong one."""
TRUSTING = {"method.mask_threshold": 0.75, "method.pseudo_nms_iou": 0.7}
"""Beside a second opinion from outside: a query's mask is less sure than a detector's, and an object has several."""
LADDER = load_value(Path(__file__).with_name("table_pl_dc.py"), "TABLE", Ablation, example="Ablation(...)")

TABLE = replace(
    LADDER,
    base=vary(pl_dc(), WORKING_POINT),
    rows={
        "supervised only": ALONE,
        "PL-DC": {},
        "all labels": ALONE | {"data.train.labelled": ""},
        "+ teacher, one coupled threshold": COUPLED,
        "+ two thresholds": TWO,
        "+ category correction": {"method.uncertainty": False},
        "adaptive thresholds": {"method.adapt_on": "all"},
        "looser thresholds, more unlabelled": LOOSE,
        "+ depth quality": LADDER.rows["+ depth quality"],
        "guided distillation": {"method": guided_distillation().method},
        "PL-DC, cut-outs alone": LADDER.rows["PL-DC, cut-outs alone"] | TRUSTING,
        "PL-DC, cut-outs and relief": LADDER.rows["PL-DC, cut-outs and relief"] | TRUSTING,
    },
)
"""The row "PL-DC" is "+ pixel uncertainty" of the ladder: everything above it, and uncertainty."""

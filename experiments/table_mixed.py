"""What do boxes add where a few images have masks? Camouflaged scenes: masks of 5 % (18 of 360), boxes of another 15 %, nothing of the others, a detector.

Expected: boxes of 54 images bring more than nothing of 342; all three together are best. Cost: up to 8 minutes a cell
on two cores.

    uv run depthbox ablate experiments/table_mixed.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

From the repository's root: `experiments/splits/blocks_boxed_15pct.txt` holds the images of the set's labelled_20pct that are not in its labelled_5pct.
"""

from depthbox.core.config import vary
from depthbox.recipes import pl_dc
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
    "model.head": "dynamic",
    "model.weights": "builtin",
    "method.burn_in": 0.25,
    "method.class_threshold": 0.35,
    "method.mask_threshold": 0.85,
    "method.pseudo_nms_iou": 0.7,
    "method.detector.class_from": 0.5,
    "schedule.steps": 600,
    "schedule.evaluate_every": 150,
    "batch_size": 8,
    "launcher": "local",
}
BOXED = {"data.train.boxed": "experiments/splits/blocks_boxed_15pct.txt"}
DEPTH = {"depth.source": "maps:depth/train", "depth.maps.kind": "depth_mm", "depth.maps.zero": "far"}

TABLE = Ablation(
    base=vary(pl_dc(), WORKING_POINT),
    metrics=("mask_ap", "best_mask_ap", "mask_ap50", "mask_ap75", "box_ap"),
    rows={
        "masks": {"method.burn_in": 1.0, "data.labelled_share": 1.0, "batch_size": 4},
        "masks and boxes": {"method.burn_in": 1.0, "data.boxed_share": 0.5} | BOXED,
        "masks and nothing (PL-DC)": {},
        "masks, boxes and nothing": {"data.labelled_share": 0.25, "data.boxed_share": 0.25} | BOXED,
        "+ depth affinity of boxes": {"data.labelled_share": 0.25, "data.boxed_share": 0.25} | BOXED | DEPTH,
        "PL-DC + depth affinity of pseudo masks": {"method.detector.weights.pseudo_depth_affinity": 0.3} | DEPTH,
    },
)

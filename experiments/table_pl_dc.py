"""What does each part of PL-DC bring where 18 of 360 images have masks? Camouflaged scenes, masks of 5 % of the images, nothing of the others, a detector.

Expected: the whole reaches at least 1.8 times the mask AP of supervision alone (published: 1.87 at COCO 1 %, 2.36 at Cityscapes 5 %), no part harms, and depth
as a third quality brings one more point. Eight shapes are hard to tell apart by 102 examples: half of the pseudo classes are wrong where four fifths of the masks
are right, so a label whose class is not sure teaches its mask alone. Cost: up to 8 minutes a cell on two cores; 20 to 35 on one without bfloat16.

    uv run depthbox ablate experiments/table_pl_dc.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

"supervised only" is the same method without a teacher: the four labelled images of each step that the others have, in both views. `best_mask_ap` is that of the best of
its evaluations: few labels are overfitted late, so compare with the better. With queries (`table_pl_dc_query.py`) all labels are weaker.
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
    "schedule.evaluate_every": 100,
    "batch_size": 8,
    "launcher": "local",
}
"""Of the detections of a network that learnt from the 18 images those that reach both thresholds are 5.8 an image of 5.9 objects; 79 % are on an object, half of these by its name."""

ALONE = {"method.burn_in": 1.0, "data.labelled_share": 1.0, "batch_size": 4, "method.detector.class_from": 0.0}
COUPLED = {
    "method.kept_by": "coupled",
    "method.class_threshold": 0.3,
    "method.category": "off",
    "method.uncertainty": False,
}
"""0.3 is the product of the two thresholds, near enough."""
ADAPTIVE = {"method.adapt_on": "all", "method.lowest": (0.25, 0.75), "method.floors": (0.25, 0.75)}
COUNTED = {"method.adapt_on": "counts", "method.adapt_keep": 0.99}
"""Ours: without it a longer run ends with 68 pseudo labels an image (experiments/LOG.md)."""
DEPTH = {
    "depth.source": "maps:depth/train",
    "depth.maps.kind": "depth_mm",
    "depth.maps.zero": "far",
    "method.depth_form": "B",
}
RELIEF = DEPTH | {"method.depth_form": "relief", "method.depth_threshold": 0.5, "method.depth_refine": True}
"""Ours: a mask must be what stands out of the surface around its box, and is corrected by that."""
CUT_OUTS = {"method.category": "cut_outs"}
"""Ours, as CLIP is in the paper a second opinion from outside: ImageNet's backbone looks at each object cut out; with disparity, at that too."""
EARLY = {"method.burn_in": 0.1, "method.class_threshold": 0.3, "method.category_weight": 0.8}
"""With somebody who corrects them, labels can be believed sooner and more of them."""

TABLE = Ablation(
    base=vary(pl_dc(), WORKING_POINT),
    metrics=("mask_ap", "best_mask_ap", "mask_ap50", "mask_ap75", "box_ap"),
    rows={
        "supervised only": ALONE,
        "PL-DC": {},
        "all labels": ALONE | {"data.train.labelled": ""},
        "+ teacher, one coupled threshold": COUPLED,
        "+ two thresholds": {"method.category": "off", "method.uncertainty": False},
        "+ category correction": {"method.uncertainty": False},
        "adaptive thresholds": ADAPTIVE,
        "as many as labelled images hold": COUNTED,
        "every class taught": {"method.detector.class_from": 0.0},
        "+ depth quality": DEPTH,
        "cut-outs and relief, all pixels alike": CUT_OUTS | EARLY | RELIEF | {"method.uncertainty": False},
        "PL-DC, cut-outs alone": CUT_OUTS | EARLY,
        "PL-DC, cut-outs and relief": CUT_OUTS | EARLY | RELIEF,
    },
)
"""The row "PL-DC" is "+ pixel uncertainty" of the ladder: everything above it, and uncertainty."""

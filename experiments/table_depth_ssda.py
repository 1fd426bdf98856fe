"""What does depth learnt from one's own video bring to segmentation with 6 of 180 labelled frames, and what do rendered images of another style add?

Expected: transfer, DepthMix and multi-task each help, DepthMix more than ClassMix; with 1/30 of the labels the method reaches 92 % of the mIoU of all labels,
with the source domain 97 % (published on Cityscapes). Cost: 2 to 5 minutes a cell and core without bfloat16.

    uv run depthbox ablate experiments/table_depth_ssda.py data.root=BLOCKS sde=out/sde model.weights=mobilenetv2_100.safetensors

`sde` is a finished `depthbox train sde` on the same training sequences (the first stage of `stages_blocks.py`). The six frames are drawn anew for every seed
(`splits/`). "all labels" learns from the same views and as many steps; the better of its rows is what retention is measured against.
"""

from depthbox.core.config import vary
from depthbox.recipes import depth_ssda
from depthbox.report.ablation import Ablation

METRICS = ("miou", "best_miou", "pixel_accuracy")
WORKING_POINT: dict[str, object] = {
    "data.table": "experiments/labels/blocks_things.json",
    "data.train.images": "video/seq_0[0-5]/frame_*.jpg",
    "data.train.labels": "video/seq_0[0-5]/semantic_*.png",
    "data.train.labelled": "experiments/splits/blocks_video_random_{seed}.txt",
    "data.val.images": "video/seq_0[67]/frame_*.jpg",
    "data.val.labels": "video/seq_0[67]/semantic_*.png",
    "data.views.short_side": 96,
    "data.views.scale": (0.9, 1.6),
    "data.views.crop": 96,
    "model.weights": "builtin",
    "schedule.steps": 300,
    "schedule.evaluate_every": 100,
    "batch_size": 8,
    "launcher": "local",
}
"""Ground, wall or sky, thing: what six scenes can teach. Eight shapes as eight classes they cannot (all labels: mIoU 0.265, five classes at nothing,
`table_depth_ssda_shapes.py`). Squares of 96 pixels from a range of sizes: whole frames are learnt by heart sooner (experiments/LOG.md)."""

ALONE: dict[str, object] = {"method.mixing": "none", "data.labelled_share": 1.0}
TRANSFER: dict[str, object] = {"model.init": "{sde}"}
DEPTH: dict[str, object] = {"depth.source": "run:{sde}"}
MULTI_TASK: dict[str, object] = {"model.multi_task": True, "data.gap": 1, "data.views.scale": (1.0, 1.6)}
"""A square with neighbours is not padded, so that no photo may be smaller."""
PIXELS: dict[str, object] = {"method.trust": "pixel"}
"""Ours: the teacher is believed where it is sure, not everywhere by the share of sure pixels."""
OWN_WORD: dict[str, object] = {"method.trust": "teacher"}
"""Ours: q of the pixels that the teacher labelled. Half of a step is labelled, and that truth is no sign of a sure teacher."""
AMONG_THEMSELVES: dict[str, object] = {"method.mixed_images": "unlabelled"}
"""Nearer to the published stream than pairs with the labelled half of a step."""
SOURCE: dict[str, object] = {
    "data.source.images": "synthetic_domain/images",
    "data.source.labels": "synthetic_domain/semantic",
}
HALF_SOURCE = SOURCE | {"data.labelled_share": 0.25, "data.source_share": 0.5}
ALL: dict[str, object] = {"data.train.labelled": "", "data.labelled_share": 1.0}

TABLE = Ablation(
    base=vary(depth_ssda(), WORKING_POINT),
    metrics=METRICS,
    runs={"sde": ""},
    rows={
        "labels alone": ALONE,
        "+ transfer": ALONE | TRANSFER,
        "+ ClassMix": TRANSFER | {"method.mixing": "class"},
        "+ DepthMix": TRANSFER | DEPTH,
        "DepthMix, pixel by pixel": TRANSFER | DEPTH | PIXELS,
        "ClassMix, the teacher's own share": TRANSFER | {"method.mixing": "class"} | OWN_WORD,
        "DepthMix, the teacher's own share": TRANSFER | DEPTH | OWN_WORD,
        "ClassMix of frames without labels": TRANSFER | {"method.mixing": "class"} | AMONG_THEMSELVES,
        "DepthMix of frames without labels": TRANSFER | DEPTH | AMONG_THEMSELVES,
        "+ multi-task": TRANSFER | DEPTH | MULTI_TASK,
        "source alone": TRANSFER | ALONE | SOURCE | {"data.labelled_share": 0.0, "data.source_share": 1.0},
        "source and labels": TRANSFER | ALONE | SOURCE | {"data.labelled_share": 0.5, "data.source_share": 0.5},
        "+ cross-domain DepthMix": TRANSFER
        | DEPTH
        | HALF_SOURCE
        | {"method.mixing": "none", "method.cross_domain": True},
        "+ target DepthMix": TRANSFER | DEPTH | HALF_SOURCE | {"method.cross_domain": True},
        "+ matching geometry": TRANSFER
        | DEPTH
        | HALF_SOURCE
        | {"method.cross_domain": True, "data.pairing": "geometry"},
        "all labels": ALONE | ALL,
        "all labels, transfer": TRANSFER | ALONE | ALL,
        "all labels, DepthMix": TRANSFER | DEPTH | ALL,
    },
)
"""Every row below "labels alone" that begins with a plus is the one above it and what its name adds ("+ multi-task": to "+ DepthMix"), up to "source alone",
where the other domain begins."""

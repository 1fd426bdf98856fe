"""Does depth help to segment real driving frames with 9 of 92 labels? CamVid at 480 x 360: no intrinsics, and frames too far apart to learn depth from.

Expected: ClassMix and DepthMix beat labels alone; the built-in depth network is small and has never seen a street, so little may come of depth and of
selection by it. Cost: up to 6 minutes a cell on two cores.

    uv run depthbox ablate experiments/table_depth_ssda_camvid.py data.root=CAMVID model.weights=mobilenetv2_100.safetensors

The lists lie in `splits/`: random ones by `depthbox data split percent=10 seed=N`, the others by `depthbox select images=train count=9 seed=N`.
Both drew by another generator then: the same words name other photos now, and the lists are what counts.
"""

from depthbox.core.config import vary
from depthbox.recipes import depth_ssda
from depthbox.report.ablation import Ablation

WORKING_POINT: dict[str, object] = {
    "data.table": "camvid",
    "data.train.images": "train",
    "data.train.labels": "trainannot",
    "data.train.labelled": "experiments/splits/camvid_random_{seed}.txt",
    "data.val.images": "val",
    "data.val.labels": "valannot",
    "data.views.short_side": 224,
    "data.views.crop": 224,
    "data.views.scale": (0.8, 1.3),
    "depth.source": "builtin",
    "model.weights": "builtin",
    "schedule.steps": 600,
    "schedule.evaluate_every": 150,
    "batch_size": 8,
    "launcher": "local",
}

ALONE: dict[str, object] = {"method.mixing": "none", "data.labelled_share": 1.0}
ALL: dict[str, object] = {"data.train.labelled": "", "data.labelled_share": 1.0}


def chosen(by: str) -> dict[str, object]:
    return {"data.train.labelled": f"experiments/splits/camvid_{by}_{{seed}}.txt"}


TABLE = Ablation(
    base=vary(depth_ssda(), WORKING_POINT),
    metrics=("miou", "best_miou", "pixel_accuracy"),
    rows={
        "labels alone": ALONE,
        "ClassMix": {"method.mixing": "class"},
        "DepthMix": {},
        "ClassMix, the teacher's own share": {"method.mixing": "class", "method.trust": "teacher"},
        "DepthMix, the teacher's own share": {"method.trust": "teacher"},
        "ClassMix of frames without labels": {"method.mixing": "class", "method.mixed_images": "unlabelled"},
        "DepthMix of frames without labels": {"method.mixed_images": "unlabelled"},
        "DepthMix after a burn-in": {"method.burn_in": 0.5},
        "labels alone, chosen by both": ALONE | chosen("both"),
        "DepthMix, chosen by diversity": chosen("diversity"),
        "DepthMix, chosen by both": chosen("both"),
        "all labels": ALONE | ALL,
        "all labels, DepthMix": ALL,
    },
)

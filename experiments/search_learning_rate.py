"""Which learning rate, and how much depth affinity at it? A small search on the demo's scenes, small enough to compare ASHA with the whole grid.

Expected: the learning rate decides early and the weight late, so that ASHA finds the grid's winner with at most 60 % of its epochs
(`bench_sweep.py parts=asha`). Cost: about 40 seconds a whole trial on one core.

    uv run depthbox sweep experiments/search_learning_rate.py data.root=out/demo/scenes
"""

from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.tune.space import Choice, Search

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/boxes_train.json",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 96,
    "data.views.max_side": 128,
    "data.views.scale": (1.0, 1.0),
    "model.weights": "builtin",
    "method.distillation.start": 1.0,
    "schedule.steps": 64,
    "launcher": "local",
}

SEARCH = Search(
    base=vary(box_depth(), WORKING_POINT),
    space={
        "schedule.learning_rate": Choice(1e-4, 3e-4, 1e-3, 3e-3),
        "method.weights.depth_affinity": Choice(0.0, 0.3, 1.0),
    },
    metric="mask_iou",
    sampler="grid",
    trials=12,
    epochs=8,
    grace=2,
    factor=2,
)

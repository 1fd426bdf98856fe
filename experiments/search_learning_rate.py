"""Which learning rate, and how much depth affinity at it? A small search on the demo's scenes, small enough to compare ASHA with the whole grid.

Expected: the learning rate decides early and the weight late, so that ASHA finds the grid's winner with at most 60 % of its epochs
(`bench_sweep.py parts=asha`). Cost: about a minute and a half a whole trial on one core. Shorter runs
have no mask by the second of eight epochs, and trials that all score alike are not told apart.

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
    "schedule.steps": 160,
    "launcher": "local",
}

SEARCH = Search(
    base=vary(box_depth(), WORKING_POINT),
    space={
        "schedule.learning_rate": Choice(2e-4, 5e-4, 1e-3, 2e-3),
        "method.weights.depth_affinity": Choice(0.0, 1.0),
    },
    metric="mask_iou",
    sampler="grid",
    trials=8,
    epochs=8,
    grace=2,
    factor=2,
)

"""How much should depth count: in the pairwise loss, in the instance's own disparity, in the matching of pseudo masks? On the demo's scenes.

Expected: a weak depth affinity helps and a strong one hurts where disparity is smooth; ASHA finds the grid's winner with at most 60 % of its epochs.
Cost: about 4 minutes a whole trial on two cores (`depthbox demo` renders the scenes first).

    uv run depthbox sweep experiments/search_depth_cost.py data.root=out/demo/scenes
"""

from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.tune.space import Choice, Search

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/boxes_train.json",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 144,
    "data.views.max_side": 192,
    "data.views.scale": (1.0, 1.0),
    "model.weights": "builtin",
    "model.mask_head": "depth_guided",
    "schedule.steps": 240,
    "launcher": "local",
}

SEARCH = Search(
    base=vary(box_depth(), WORKING_POINT),
    space={
        "method.weights.depth_affinity": Choice(0.0, 0.1, 0.3, 1.0),
        "method.weights.instance_depth": Choice(0.3, 1.0),
        "method.distillation.depth_cost": Choice(0.0, 0.3, 0.6),
    },
    sampler="tpe",
    trials=16,
    epochs=8,
    grace=2,
    factor=2,
)

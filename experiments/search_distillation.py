"""When should the teacher start, how slowly should it follow, and which of its masks should it keep? (start step, EMA, gamma, thresholds)

Gamma is the weight of `pseudo_mask`; the thresholds are those of the matching and of the depth edges. Expected: a late start costs little, an early one
teaches noise. Cost: about 4 minutes a whole trial on two cores (`depthbox demo` renders the scenes first).

    uv run depthbox sweep experiments/search_distillation.py data.root=out/demo/scenes
"""

from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.tune.space import Choice, LogUniform, Search, Uniform

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/boxes_train.json",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 144,
    "data.views.max_side": 192,
    "data.views.scale": (1.0, 1.0),
    "model.weights": "builtin",
    "schedule.steps": 240,
    "launcher": "local",
}

SEARCH = Search(
    base=vary(box_depth(), WORKING_POINT),
    space={
        "method.distillation.start": Uniform(0.3, 0.9),
        "method.distillation.keep": Choice(0.99, 0.996, 0.999),
        "method.distillation.threshold": Uniform(0.3, 0.7),
        "method.distillation.confidence": Choice(False, True),
        "method.weights.pseudo_mask": LogUniform(0.1, 2.0),
        "method.depth_threshold": Uniform(0.3, 0.7),
    },
    sampler="tpe",
    trials=24,
    epochs=8,
    # The teacher has to have started before a trial is judged.
    grace=4,
    factor=2,
)

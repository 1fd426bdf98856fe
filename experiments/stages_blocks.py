"""From nothing but video to a segmentation of it: depth learnt from the video, its disparity cached, six of 180 frames chosen for labels by it, a network
that starts from the depth network and learns from six labelled frames, the other frames, and rendered images of another style.

    uv run depthbox stages experiments/stages_blocks.py data.root=BLOCKS model.weights=mobilenetv2_100.safetensors sde.model.pose_weights=mobilenetv2_100.safetensors

The depth network starts from an ImageNet encoder and is held near it (`feature_distance`, as published): what it has learnt is then a better start for classes
than that encoder alone, which the encoder of the built-in depth network is not (experiments/LOG.md). The labels of all frames are on disk; of those that selection does not name, training sees nothing.
"""

from depthbox.core.config import vary
from depthbox.recipes import depth_ssda, sde
from depthbox.stages.graph import CacheFill, Stages
from depthbox.stages.selecting import Selection

FRAMES, LABELS = "video/seq_0[{}]/frame_*.jpg", "video/seq_0[{}]/semantic_*.png"
DEPTH = "run:{sde}"

DATA: dict[str, object] = {
    "data.table": "experiments/labels/blocks_things.json",
    "data.train.images": FRAMES.replace("{}", "0-5"),
    "data.train.labels": LABELS.replace("{}", "0-5"),
    "data.val.images": FRAMES.replace("{}", "67"),
    "data.val.labels": LABELS.replace("{}", "67"),
    "data.source.images": "synthetic_domain/images",
    "data.source.labels": "synthetic_domain/semantic",
    "data.labelled_share": 0.25,
    "data.source_share": 0.5,
    "data.pairing": "geometry",
    "data.views.short_side": 96,
    "data.views.scale": (0.9, 1.6),
    "data.views.crop": 96,
}

VIDEO: dict[str, object] = {
    "data.train.sequences": ("video/seq_0[0-5]",),
    "data.val.sequences": ("video/seq_0[67]",),
    "data.views.scale": (1.0, 1.5),
    "model.start": -2.0,
    "method.weights.feature_distance": 0.01,
    "schedule.steps": 500,
}
SEGMENT: dict[str, object] = {
    "data.train.labelled": "{select}/selected.txt",
    "depth.source": DEPTH,
    "model.init": "{sde}",
    "method.cross_domain": True,
    "schedule.steps": 300,
    "schedule.evaluate_every": 100,
    "batch_size": 8,
}

STAGES = Stages(
    stages={
        "sde": vary(sde(), VIDEO | {"launcher": "local"}),
        "cache": vary(CacheFill(), DATA | {"depth.source": DEPTH}),
        "select": Selection(images=str(DATA["data.train.images"]), count=6, by="both"),
        "segment": vary(depth_ssda(), DATA | SEGMENT | {"launcher": "local"}),
    },
    after={"segment": ("cache",)},
)
STAGES = STAGES.placed({"select.depth.source": DEPTH})

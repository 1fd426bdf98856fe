"""A semantic run of seconds: six photos, two of them labelled, three to score."""

from pathlib import Path

from tiny_semantic import write_labelled_video, write_tiny_semantic

from depthbox.core.config import vary
from depthbox.experiment import Experiment
from depthbox.recipes import recipe

__all__ = ["SEVERAL_TASKS", "tiny_dense", "write_tiny_dense"]

SEVERAL_TASKS: dict[str, object] = {
    "data.train.images": "video/seq_[01]/frame_*.png", "data.train.labels": "video/seq_[01]/semantic_*.png", "data.table": "video/table.json",
    "data.train.labelled": "", "data.val.images": "video/seq_2/frame_*.png", "data.val.labels": "video/seq_2/semantic_*.png",
    "data.labelled_share": 1, "data.gap": 1, "model.multi_task": True, "model.pose_backbone": "test_efficientnet", "model.pose_weights": "none",
}  # fmt: skip
"""On the little video instead of the photos."""


def write_tiny_dense(root: Path) -> Path:
    """`root/{train,val,other}/{photos,labels}`, `root/train/table.json`, `root/labelled.txt`, and `root/video`."""
    write_labelled_video(root / "video")
    for number, (name, photos) in enumerate({"train": 6, "val": 3, "other": 4}.items()):
        write_tiny_semantic(root / name, photos=photos, seed=number)
    (root / "labelled.txt").write_text("p_00.png\np_03.png\n")
    return root


def tiny_dense(data: Path, out: Path, **overrides: object) -> Experiment:
    settings: dict[str, object] = {
        "data.root": str(data), "data.table": "train/table.json", "data.train.images": "train/photos", "data.train.labels": "train/labels",
        "data.train.labelled": str(data / "labelled.txt"), "data.val.images": "val/photos", "data.val.labels": "val/labels",
        "data.views.short_side": 32, "model.backbone": "test_efficientnet", "model.weights": "none", "model.width": 8,
        "schedule.steps": 6, "schedule.log_every": 1, "schedule.checkpoint_every": 2, "schedule.evaluate_every": 2, "schedule.precision": "float32",
        "depth.cache": str(data / "cache"), "batch_size": 4, "launcher": "local", "data.processes": 0, "out": str(out), "tracking.uri": "none",
    }  # fmt: skip
    return vary(recipe("depth_ssda"), settings | overrides)

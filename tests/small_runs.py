"""Words of the command line for a run of three steps on six photos."""

from pathlib import Path

from tiny_coco import write_tiny_coco

__all__ = ["SECRET", "SMALL", "make_data", "paths"]

SECRET = "Tr0ub4dor-9"
SMALL = [
    *("model.backbone=test_efficientnet", "model.weights=none", "model.channels=32", "model.mask_width=16"),
    *("data.views.short_side=64", "data.views.max_side=96", "batch_size=2", "schedule.steps=3", "schedule.log_every=1"),
    *("launcher=local", "device=cpu"),
]


def paths(root: Path, **changed: str) -> list[str]:
    given = {"train_annotations": "train/boxes.json", "val_annotations": "val/instances.json", **changed}
    return [
        f"data.root={root}",
        *("data.train.images=train/photos", f"data.train.annotations={given['train_annotations']}"),
        *("data.val.images=val/photos", f"data.val.annotations={given['val_annotations']}"),
    ]


def make_data(root: Path) -> Path:
    write_tiny_coco(root / "train", seed=0)
    write_tiny_coco(root / "val", seed=1, images=3)
    return root

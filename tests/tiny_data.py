"""A COCO data set small enough for every test: bright shapes on dark ground, boxes and masks."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from depthbox.core.config import vary
from depthbox.experiment import Experiment
from depthbox.recipes import recipe

__all__ = ["tiny_experiment", "write_tiny_data"]


def write_tiny_data(folder: Path, *, images: int = 6, size_hw: tuple[int, int] = (64, 96)) -> Path:
    """`folder/{train,val}` photos and `folder/{boxes,masks}_{train,val}.json`: one ellipse or rectangle a photo, classes by shape."""
    height, width = size_hw
    for split in ("train", "val"):
        rng = np.random.default_rng(len(split))
        (folder / split).mkdir(parents=True, exist_ok=True)
        rows = [_draw(folder / split, i, rng, (height, width)) for i in range(images)]
        base = {"images": [r[0] for r in rows], "categories": [{"id": 3, "name": "ellipse"}, {"id": 7, "name": "box"}]}
        (folder / f"masks_{split}.json").write_text(json.dumps(base | {"annotations": [r[1] for r in rows]}))
        boxes = [{k: v for k, v in r[1].items() if k != "segmentation"} for r in rows]
        (folder / f"boxes_{split}.json").write_text(json.dumps(base | {"annotations": boxes}))
    return folder


def _draw(folder: Path, i: int, rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[dict, dict]:
    height, width = size_hw
    photo = Image.fromarray(rng.integers(0, 80, (height, width, 3), dtype=np.uint8))
    x, y, w, h = (
        int(rng.integers(4, 30)),
        int(rng.integers(4, 20)),
        int(rng.integers(24, 50)),
        int(rng.integers(24, 36)),
    )
    color = tuple(int(c) for c in rng.integers(150, 255, 3))
    draw = ImageDraw.Draw(photo)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ellipse = [(x + w / 2 + w / 2 * np.cos(a), y + h / 2 + h / 2 * np.sin(a)) for a in angles]
    corners = ellipse if i % 2 else [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    draw.polygon(corners, fill=color)
    photo.save(folder / f"{i:03d}.png")
    image = {"id": i + 1, "file_name": f"{i:03d}.png", "width": width, "height": height}
    polygon = [float(np.clip(v, 0, (width, height)[k])) for point in corners for k, v in enumerate(point)]
    return image, {
        "id": i + 1,
        "image_id": i + 1,
        "category_id": 3 if i % 2 else 7,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [polygon],
    }


def tiny_experiment(data: Path, out: Path, method: str = "box_depth", **overrides: object) -> Experiment:
    """A run of seconds on that data: a small backbone without weights, a few steps, float32."""
    kind = "boxes" if method == "box_depth" else "masks"
    settings: dict[str, object] = {
        "data.root": str(data), "data.train.images": "train", "data.train.annotations": f"{kind}_train.json",
        "data.val.images": "val", "data.val.annotations": "masks_val.json", "data.views.short_side": 64, "data.views.max_side": 96,
        "model.backbone": "mobilenetv3_small_050", "model.weights": "none", "model.channels": 16, "model.head_depth": 1, "model.mask_width": 16,
        "schedule.steps": 6, "schedule.log_every": 1, "schedule.checkpoint_every": 2, "schedule.precision": "float32",
        "batch_size": 2, "depth.source": "none", "launcher": "local", "out": str(out), "tracking.uri": "none",
    }  # fmt: skip
    return vary(recipe(method), settings | overrides)

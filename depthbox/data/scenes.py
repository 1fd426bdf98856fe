"""Rendered scenes with exact depth as a COCO data set: the embedded default, where nothing has to be downloaded.

A scene is a ground plane, often a wall, and a handful of bodies under one sun. In `camo` scenes the bodies wear the
palette, often the pattern, of what is behind them, so that colour does not tell where an object ends but depth does.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from depthbox.core.rng import generator
from depthbox.data.scene_layout import DEMO, SceneStyle, random_layout
from depthbox.data.scene_render import Scene, render
from depthbox.data.scene_shapes import KINDS

__all__ = ["MIN_MASK_PX", "render_scene", "render_scenes"]

MIN_MASK_PX = 40
"""Objects with fewer visible pixels stay in the picture but get no annotation."""

_FIRST_IMAGE_ID = {"train": 0, "val": 100_000}


def render_scene(
    name: str, index: int, *, seed: int, size_hw: tuple[int, int] = (144, 192), style: SceneStyle = DEMO
) -> Scene:
    """Scene `index` of the stream `name`: it depends on these arguments alone, not on which scenes came before."""
    rng = generator(f"scene/{name}", seed, index)
    return render(random_layout(style, rng), size_hw, rng)


def render_scenes(
    folder: Path,
    *,
    train: int,
    val: int,
    size_hw: tuple[int, int] = (144, 192),
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set of `train` + `val` scenes below `folder`; equal arguments give equal bytes.

    {train,val}/NNNNNN.jpg, depth/{train,val}/NNNNNN.png (16-bit millimetres of z-depth, 0 = sky or beyond 65.535 m),
    annotations/instances_{train,val}.json (COCO, visible masks as compressed RLE, `mode` and `depth_file` in each image
    entry) and annotations/boxes_train.json, which has no `segmentation` at all. `progress(done, total)` is told.
    """
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    done = 0
    for split, count in (("train", train), ("val", val)):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(count):
            scene = render_scene(split, index, seed=seed, size_hw=size_hw)
            images.append(_write_scene(folder, split, index, scene))
            annotations += _annotations(scene, images[-1]["id"])
            done += 1
            if progress is not None:
                progress(done, train + val)
        _write_json(folder / "annotations" / f"instances_{split}.json", images, annotations)
        if split == "train":
            _write_json(folder / "annotations" / "boxes_train.json", images, map(_box_only, annotations))


def _write_scene(folder: Path, split: str, index: int, scene: Scene) -> dict[str, Any]:
    from PIL import Image

    photo, depth = folder / split / f"{index:06d}.jpg", folder / "depth" / split / f"{index:06d}.png"
    for path in (photo, depth):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(photo, quality=92)
    millimetres = np.clip(np.round(scene.depth_m * 1000), 0, 65535).astype(np.uint16)
    Image.fromarray(millimetres).save(depth, compress_level=1)
    height, width = scene.depth_m.shape
    focal = round(scene.focal_px, 6)
    return {
        "id": _FIRST_IMAGE_ID[split] + index,
        "file_name": photo.name,
        "depth_file": depth.name,
        "width": width,
        "height": height,
        "mode": scene.mode,
        # Pixel centres at +0.5, so the principal point is the middle of the image.
        "intrinsics": {"fx": focal, "fy": focal, "cx": width / 2, "cy": height / 2},
    }


def _annotations(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    from pycocotools import mask as coco_mask

    entries = []
    for number, category_id in enumerate(scene.category_ids, start=1):
        visible = scene.instance == number
        area = int(visible.sum())
        if area < MIN_MASK_PX:
            continue
        rle = coco_mask.encode(np.asfortranarray(visible, dtype=np.uint8))
        entries.append(
            {
                "id": image_id * 100 + number,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": [float(v) for v in coco_mask.toBbox(rle)],
                "area": area,
                "iscrowd": 0,
                "segmentation": {"size": list(visible.shape), "counts": rle["counts"].decode("ascii")},
            }
        )
    return entries


def _box_only(annotation: dict[str, Any]) -> dict[str, Any]:
    """The annotation as a person who only draws boxes would have made it."""
    _, _, width, height = annotation["bbox"]
    kept = {key: value for key, value in annotation.items() if key != "segmentation"}
    return kept | {"area": width * height}


def _write_json(path: Path, images: list[dict[str, Any]], annotations: Iterable[dict[str, Any]]) -> None:
    categories = [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(KINDS, start=1)]
    content = {"images": images, "annotations": list(annotations), "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")

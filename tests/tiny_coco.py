"""A data set of six photos of 64x96 with rectangles and ellipses, written in a few milliseconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE_HW = (64, 96)
CLASSES = {3: "plate", 7: "ball"}  # sparse ids, as in COCO


def write_tiny_coco(root: Path, *, images: int = 6, seed: int = 0) -> Path:
    """`root` with photos in `photos/`, `instances.json`, `boxes.json` (no masks), depth in millimetres in `depth/`."""
    (root / "photos").mkdir(parents=True)
    (root / "depth").mkdir()
    listed, objects = [], []
    for number in range(1, images + 1):
        rng = np.random.default_rng([seed, number])
        height, width = SIZE_HW
        photo = Image.fromarray(rng.integers(90, 140, (*SIZE_HW, 3), dtype=np.uint8))
        # The ground comes nearer towards the lower edge.
        depth = Image.fromarray(np.repeat(np.linspace(9000, 3000, height)[:, None], width, 1).astype(np.int32))
        for category in CLASSES:
            x, y = (int(rng.integers(2, side // 2)) for side in (width, height))
            w, h = (int(rng.integers(side // 4, side // 2 - 4)) for side in (width, height))
            colour = tuple(int(c) for c in rng.integers(0, 255, 3))
            for picture, fill in ((photo, colour), (depth, 2500)):
                draw = ImageDraw.Draw(picture)
                (draw.rectangle if category == 3 else draw.ellipse)((x, y, x + w - 1, y + h - 1), fill=fill)
            objects.append(_object(len(objects) + 1, number, category, (x, y, w, h)))
        photo.save(root / "photos" / f"{number:03d}.png")
        Image.fromarray(np.asarray(depth).astype(np.uint16)).save(root / "depth" / f"{number:03d}.png")
        listed.append({"id": number, "file_name": f"{number:03d}.png", "height": height, "width": width})
    head = {"images": listed, "categories": [{"id": i, "name": name} for i, name in CLASSES.items()]}
    write_json(root / "instances.json", {**head, "annotations": objects})
    bare = [{k: v for k, v in one.items() if k != "segmentation"} for one in objects]
    write_json(root / "boxes.json", {**head, "annotations": bare})
    return root


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def _object(number: int, image: int, category: int, box: tuple[int, int, int, int]) -> dict:
    x, y, w, h = box
    if category == 3:
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    else:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        points = np.stack([x + w / 2 + np.cos(angles) * w / 2, y + h / 2 + np.sin(angles) * h / 2], 1)
        outline = points.round(2).ravel().tolist()
    return {"id": number, "image_id": image, "category_id": category, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
            "segmentation": [outline]}  # fmt: skip

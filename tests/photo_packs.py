"""Six small photos, and packs made of them."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from depthbox.data.coco import read_coco
from depthbox.data.config import ViewsConfig
from depthbox.data.plan import Plan
from depthbox.data.source import Packed, Rows, Source

__all__ = ["SIZES", "VIEWS", "assert_same", "extent", "joined", "pack", "source_of", "with_disparity", "write_photos"]

SIZES = [(60, 90), (90, 60), (64, 64), (50, 100), (70, 80), (100, 52)]
VIEWS = ViewsConfig(short_side=48, max_side=80, scale=(0.8, 1.2))


def write_photos(folder: Path, *, empty: int = 2) -> Path:
    """Six photos of six sizes, a red rectangle on blue in each but number `empty`; one crowd."""
    images, annotations = [], []
    for i, (height, width) in enumerate(SIZES):
        photo = Image.new("RGB", (width, height), (0, 0, 255))
        box = [8 + i, 10, 20 + i, 24]
        images.append({"id": i + 1, "file_name": f"{i}.png", "width": width, "height": height})
        if i != empty:
            ImageDraw.Draw(photo).rectangle(
                (box[0], box[1], box[0] + box[2] - 1, box[1] + box[3] - 1), fill=(255, 0, 0)
            )
            x0, y0, x1, y1 = box[0], box[1], box[0] + box[2], box[1] + box[3]
            polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
            annotations.append({"bbox": box, "image_id": i + 1, "segmentation": [polygon]})
        photo.save(folder / f"{i}.png")
    annotations.append(
        {
            "bbox": [1, 1, 40, 40],
            "image_id": 1,
            "iscrowd": 1,
            "segmentation": {"size": list(SIZES[0]), "counts": [5000, 400]},
        }
    )
    rows = [{"id": n + 1, "category_id": 4, "area": 1, "iscrowd": 0} | row for n, row in enumerate(annotations)]
    said = {"images": images, "annotations": rows, "categories": [{"id": 4, "name": "red"}]}
    (folder / "said.json").write_text(json.dumps(said))
    return folder


def source_of(folder: Path, *, masks: bool = True, batch_size: int = 4, views: ViewsConfig = VIEWS) -> Source:
    data = read_coco(folder / "said.json", images=folder, masks=masks)
    plan = Plan(images=len(data.records), batch_size=batch_size, seed=3)
    return Source(data=data, plan=plan, views=views, masks=masks, guard_folder=str(folder / "guard"))


def with_disparity(rows: Rows, *, holes: bool = False) -> Rows:
    """What a depth actor adds: here the redness of the photo, at half its size."""
    maps = np.empty(len(rows["step"]), dtype=object)
    for i, image in enumerate(rows["image"]):
        red = Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.BILINEAR)
        maps[i] = (np.asarray(red)[..., 0] / 255).astype(np.float16)
        maps[i][:3, :3] = np.nan if holes else 0
    flags = {"depth_hit": np.arange(len(maps)) % 2 == 0, "depth_inferred": np.arange(len(maps)) % 2 == 1}
    return {**rows, "disparity": maps, **flags}


def pack(source: Source, step: int, slots, **options) -> Packed:
    return source.pack(with_disparity(source.decode([step] * len(slots), list(slots)), **options))


def assert_same(one, two) -> None:
    """Bitwise, whatever a record holds."""
    assert type(one) is type(two)
    if isinstance(one, np.ndarray):
        assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    elif isinstance(one, tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif hasattr(one, "__dataclass_fields__"):
        for f in fields(one):
            assert_same(getattr(one, f.name), getattr(two, f.name))
    else:
        assert one == two


def extent(mask: np.ndarray) -> list[float]:
    ys, xs = np.nonzero(mask)
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


def joined(parts: list[Packed]) -> Packed:
    """Packs of ranks as the pack of all."""
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in ("weak", "strong", "teacher", "disparity")
    }
    rows = {
        name: sum((getattr(p, name) for p in parts), ())
        for name in ("sizes_hw", "teacher_sizes_hw", "boxes", "labels", "masks", "image_ids", "supervision", "truth")
    }
    outcomes = [p.outcome for p in parts]
    whole = replace(
        outcomes[0],
        indices=sum((o.indices for o in outcomes), ()),
        bad=sum((o.bad for o in outcomes), ()),
        inferences=sum(o.inferences for o in outcomes),
        hits=sum(o.hits for o in outcomes),
    )
    return replace(parts[0], **columns, **rows, outcome=whole)

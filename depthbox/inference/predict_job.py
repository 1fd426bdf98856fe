"""Photos -> `detections.json` (COCO results), `images.json` (what its ids mean), `overlays/`. The same call again goes on where it was killed."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.inference.journal import Journal
from depthbox.inference.opened import TrainedModel
from depthbox.inference.photos import Answer, Photo

__all__ = ["predict_photos", "write_json"]

Answers = Callable[[Sequence[Photo]], Iterable[Answer]]


def predict_photos(trained: TrainedModel, photos: Sequence[Photo], out: Path, answers: Answers, *, job: dict) -> dict:
    """`answers` does the work, here or on a cluster; `job` is what a journal must agree in to be gone on with.

    Returns counts and the photos that were set aside. Raises `InputError` where not one photo could be read.
    """
    journal = Journal(out / "photos.jsonl", job=job, remedy="give another --out, or remove that folder")
    try:
        waiting = [photo for photo in photos if photo.name not in journal.rows]
        done, quarantined = len(photos) - len(waiting), []
        for one in answers(waiting) if waiting else ():
            if one.overlay:
                _write_overlay(out / "overlays", one)
            journal.add(one.photo.name, one.row)
            if reason := one.row.get("bad"):
                quarantined.append({"path": one.photo.path, "reason": reason})
    finally:
        journal.close()
    if quarantined and len(quarantined) == len(photos):
        first = quarantined[0]
        more = f" (and none of the other {len(photos) - 1})" if photos[1:] else ""
        raise InputError(first["path"], "", f"{first['reason']}{more}", "give photos that can be read")
    rows = {photo.image_id: journal.rows[photo.name] for photo in photos if "found" in journal.rows[photo.name]}
    found = [{**row, "image_id": image_id} for image_id, said in rows.items() for row in said["found"]]
    write_json(out / "detections.json", found)
    write_json(out / "images.json", _coco_head(trained, photos, rows))
    write_json(out / "quarantined.json", quarantined)
    counts = {"photos": len(photos), "photos_done_before": done, "objects": len(found)}
    return {**counts, "rows_quarantined": len(quarantined), "quarantined": quarantined, "out": str(out)}


def write_json(path: Path, value: object) -> None:
    """Whole or not at all."""
    try:
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(value))
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            path, "", f"cannot be written ({error.strerror})", "make room, or give another place"
        ) from None


def _coco_head(trained: TrainedModel, photos: Sequence[Photo], rows: dict[int, dict]) -> dict:
    """A COCO file without annotations: `COCO("images.json").loadRes("detections.json")` reads the pair."""
    images = [
        {"id": p.image_id, "file_name": p.name, "height": size[0], "width": size[1]}
        for p in photos
        if p.image_id in rows
        for size in [rows[p.image_id]["size_hw"]]
    ]
    classes = zip(trained.category_ids, trained.classes, strict=True)
    categories = [{"id": number, "name": name} for number, name in classes]
    return {"images": images, "categories": categories, "annotations": []}


def _write_overlay(folder: Path, one: Answer) -> None:
    name = one.photo.name
    path = folder / (name if name.lower().endswith(".jpg") else f"{name}.jpg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.overlay)
    except OSError as error:
        raise InputError(path, "", f"cannot be written ({error.strerror})", "make room, or set overlays=no") from None

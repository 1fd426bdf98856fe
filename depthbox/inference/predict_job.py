"""Photos -> what a model says of them, and `overlays/`. The same call again goes on where it was killed.

Objects become `detections.json` (COCO results) and `images.json` (what its ids mean); a class for every pixel `label_maps/` and `label_maps.json`.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from depthbox.core.errors import InputError
from depthbox.inference.journal import Journal
from depthbox.inference.opened import TrainedModel
from depthbox.inference.photos import Answer, Photo

__all__ = ["predict_photos", "write_json"]

Answers = Callable[[Sequence[Photo]], Iterable[Answer]]


def predict_photos(trained: TrainedModel, photos: Sequence[Photo], out: Path, answers: Answers, *, job: dict) -> dict:
    """`answers` does the work, here or on a cluster; `job` is what a journal must agree in to be gone on with.

    Returns counts and the photos that were set aside. Raises `InputError` where not one photo could be read, and where two would have one label map.
    """
    if trained.dense:
        _refuse_one_name(photos)
    journal = Journal(out / "photos.jsonl", job=job, remedy="give another --out, or remove that folder")
    try:
        waiting = [photo for photo in photos if photo.name not in journal.rows]
        done, quarantined = len(photos) - len(waiting), []
        for one in answers(waiting) if waiting else ():
            if one.overlay:
                _write_file(out / _overlay(one.photo), one.overlay, "make room, or set overlays=no")
            if one.label_map:
                _write_file(out / _label_map(one.photo), one.label_map, "make room")
            journal.add(one.photo.name, one.row)
            if reason := one.row.get("bad"):
                quarantined.append({"path": one.photo.path, "reason": reason})
    finally:
        journal.close()
    if quarantined and len(quarantined) == len(photos):
        first = quarantined[0]
        more = f" (and none of the other {len(photos) - 1})" if photos[1:] else ""
        raise InputError(first["path"], "", f"{first['reason']}{more}", "give photos that can be read")
    rows = {photo.image_id: journal.rows[photo.name] for photo in photos if "bad" not in journal.rows[photo.name]}
    found = (_label_maps if trained.dense else _objects)(trained, photos, out, rows)
    write_json(out / "quarantined.json", quarantined)
    counts = {"photos": len(photos), "photos_done_before": done, **found}
    return {**counts, "rows_quarantined": len(quarantined), "quarantined": quarantined, "out": str(out)}


def _objects(trained: TrainedModel, photos: Sequence[Photo], out: Path, rows: dict[int, dict]) -> dict:
    found = [{**row, "image_id": image_id} for image_id, said in rows.items() for row in said["found"]]
    write_json(out / "detections.json", found)
    write_json(out / "images.json", _coco_head(trained, photos, rows))
    return {"objects": len(found)}


def _label_maps(trained: TrainedModel, photos: Sequence[Photo], out: Path, rows: dict[int, dict]) -> dict:
    """`label_maps.json`: which id and colour is which class, and of each photo its files and what share of its pixels each class has."""
    seen = [photo for photo in photos if photo.image_id in rows]
    counts = np.array([rows[photo.image_id]["pixels"] for photo in seen], np.int64)
    shares, every = (counts / counts.sum(1, keepdims=True)).tolist(), (counts.sum(0) / counts.sum()).tolist()
    classes = [{**known, "share": share} for known, share in zip(trained.legend, every, strict=True)]
    images = []
    for photo, own in zip(seen, shares, strict=True):
        height, width = rows[photo.image_id]["size_hw"]
        files = {"file_name": photo.name, "label_map": _label_map(photo)}
        files |= {"overlay": _overlay(photo)} if (out / _overlay(photo)).is_file() else {}
        images.append(
            {**files, "height": height, "width": width, "shares": dict(zip(trained.classes, own, strict=True))}
        )
    write_json(out / "label_maps.json", {"classes": classes, "photos": images})
    return {"label_maps": len(seen), "shares": dict(zip(trained.classes, every, strict=True))}


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


def _overlay(photo: Photo) -> str:
    return f"overlays/{photo.name}" + ("" if photo.name.lower().endswith(".jpg") else ".jpg")


def _label_map(photo: Photo) -> str:
    """The photo's name with another ending, which is how label maps are found to belong to photos."""
    return f"label_maps/{PurePosixPath(photo.name).with_suffix('.png')}"


def _refuse_one_name(photos: Sequence[Photo]) -> None:
    taken: dict[str, Photo] = {}
    for photo in photos:
        other = taken.setdefault(_label_map(photo), photo)
        if other is not photo:
            cause = f"and {photo.name} differ in their endings alone, and would have one label map"
            raise InputError(other.path, "", cause, "give one of them, such as 'DIR/*.jpg'")


def _write_file(path: Path, data: bytes, remedy: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InputError(path, "", f"cannot be written ({error.strerror})", remedy) from None

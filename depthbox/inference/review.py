"""The doubtful masks as one HTML page with thumbnails, the poorest first; no script, no other host."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import ImageDraw

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate.figures import overlay
from depthbox.inference.config import Review
from depthbox.inference.label_job import Labels

__all__ = ["write_review"]

TEMPLATE = Path(__file__).with_name("review.html.jinja")
SIDE, MARGIN, PHOTO_SIDE = 448, 0.3, 2048
"""Of a thumbnail in pixels, around its box as a fraction of it, and of the photo it is cut from."""


def write_review(labels: Labels, data: CocoData, review: Review) -> tuple[Path, int]:
    """The page beside the masks, and how many are doubtful."""
    import jinja2

    made = [one for one in labels.coco["annotations"] if not one.get("iscrowd")]
    doubtful = sorted((one for one in made if _quality(one) < review.below), key=_quality)
    shown = doubtful[: review.most]
    pictures = _pictures(shown, {record.image_id: record for record in data.records})
    files = {one["id"]: one["file_name"] for one in labels.coco["images"]}
    names = {one["id"]: one["name"] for one in labels.coco["categories"]}
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text())
    filled = page.render(
        name=labels.file.name,
        masks=len(made),
        doubtful=len(doubtful),
        below=review.below,
        quarantined=labels.quarantined,
        shown=[
            {
                "id": one["id"],
                "category": names[one["category_id"]],
                "file": files[one["image_id"]],
                "figures": one["attributes"],
                "picture": pictures.get(one["id"], ""),
            }
            for one in shown
        ],
    )
    file = labels.file.with_name(f"{labels.file.stem}.review.html")
    try:
        file.write_text(filled)
    except OSError as error:
        raise InputError(file, "", f"cannot be written ({error.strerror})", "make room") from None
    return file, len(doubtful)


def _quality(annotation: Mapping) -> float:
    return annotation["attributes"]["quality"]


def _pictures(annotations: list[dict], records: Mapping[int, ImageRecord]) -> dict[int, str]:
    """Annotation id -> data address; each photo is read once."""
    by_image: dict[int, list[dict]] = {}
    for one in annotations:
        by_image.setdefault(one["image_id"], []).append(one)
    found: dict[int, str] = {}
    for image_id, ones in by_image.items():
        record = records[image_id]
        try:
            photo = read_image(record.path, short_side=None, max_side=_side(record), expect_hw=record.size_hw).image
        except BadImage:  # gone since it was labelled
            continue
        found |= {one["id"]: _thumbnail(photo, one, record.size_hw) for one in ones}
    return found


def _side(record: ImageRecord) -> int:
    return min(PHOTO_SIDE, max(record.size_hw))


def _thumbnail(photo: np.ndarray, annotation: dict, size_hw: tuple[int, int]) -> str:
    """The surroundings of the box, the mask tinted, the box as a white frame."""
    x, y, w, h = annotation["bbox"]
    one = Detections(
        image_id=0,
        boxes_xyxy=np.array([[x, y, x + w, y + h]], np.float32),
        scores=np.ones(1, np.float32),
        labels=np.zeros(1, np.int64),
        masks=(annotation["segmentation"],),
    )
    picture, scale = overlay(photo, one, size_hw=size_hw, by_class=True), photo.shape[1] / size_hw[1]
    ImageDraw.Draw(picture).rectangle([v * scale for v in (x, y, x + w, y + h)], outline="white")
    margin = MARGIN * max(w, h)
    left, top, right, bottom = (v * scale for v in (x - margin, y - margin, x + w + margin, y + h + margin))
    cut = picture.crop(
        (max(0, int(left)), max(0, int(top)), min(picture.width, int(right) + 1), min(picture.height, int(bottom) + 1))
    )
    cut.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    cut.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

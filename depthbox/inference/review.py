"""The doubtful masks as one HTML page with thumbnails, the poorest first; no script, no other host."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate.embedded import picture_address
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
                "pictures": pictures.get(one["id"], ()),
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


def _pictures(annotations: list[dict], records: Mapping[int, ImageRecord]) -> dict[int, tuple[str, str]]:
    """Annotation id -> data addresses with and without the mask; each photo is read once."""
    by_image: dict[int, list[dict]] = {}
    for one in annotations:
        by_image.setdefault(one["image_id"], []).append(one)
    found: dict[int, tuple[str, str]] = {}
    for image_id, ones in by_image.items():
        record = records[image_id]
        try:
            photo = read_image(record.path, short_side=None, max_side=_side(record), expect_hw=record.size_hw).image
        except BadImage:  # gone since it was labelled
            continue
        found |= {one["id"]: _thumbnails(photo, one, record.size_hw) for one in ones}
    return found


def _side(record: ImageRecord) -> int:
    return min(PHOTO_SIDE, max(record.size_hw))


def _thumbnails(photo: np.ndarray, annotation: dict, size_hw: tuple[int, int]) -> tuple[str, str]:
    """The surroundings of the box with the mask tinted, and without it; the box as a frame."""
    x, y, w, h = annotation["bbox"]
    one = Detections(
        image_id=0,
        boxes_xyxy=np.array([[x, y, x + w, y + h]], np.float32),
        scores=np.ones(1, np.float32),
        labels=np.zeros(1, np.int64),
        masks=(annotation["segmentation"],),
    )
    scale, margin = photo.shape[1] / size_hw[1], MARGIN * max(w, h)
    box = tuple(v * scale for v in (x, y, x + w, y + h))
    around = tuple(v * scale for v in (x - margin, y - margin, x + w + margin, y + h + margin))
    tinted = overlay(photo, one, size_hw=size_hw, by_class=True)
    return _framed(tinted, box, around), _framed(Image.fromarray(photo), box, around)


def _framed(picture: Image.Image, box: tuple[float, ...], around: tuple[float, ...]) -> str:
    """The part `around`, as large as a thumbnail may be, with a frame that shows on white and on black."""
    left, top = max(0, int(around[0])), max(0, int(around[1]))
    right, bottom = min(picture.width, int(around[2]) + 1), min(picture.height, int(around[3]) + 1)
    cut = ImageOps.contain(picture.crop((left, top, right, bottom)), (SIDE, SIDE))
    scale = cut.width / (right - left)
    x0, y0, x1, y1 = ((v - low) * scale for v, low in zip(box, (left, top, left, top), strict=True))
    draw = ImageDraw.Draw(cut)
    draw.rectangle([x0 - 2, y0 - 2, x1 + 2, y1 + 2], outline="black")
    draw.rectangle([x0 - 1, y0 - 1, x1 + 1, y1 + 1], outline="white", width=2)
    return picture_address(cut)

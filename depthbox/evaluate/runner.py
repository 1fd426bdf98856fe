"""A model over a validation set: every image once on any world size, masks at the size of the photo."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.dist import gather_objects, rank, world_size
from depthbox.data.config import ViewsConfig
from depthbox.data.decode import BadImage, Decoded, decode_record
from depthbox.data.schema import CocoData, Detections, ImageRecord
from depthbox.evaluate.instance import Scores, merge, score
from depthbox.models.config import InferenceConfig
from depthbox.models.predict import ImagePredictions, paste, predict
from depthbox.models.segmenter import Model

__all__ = ["detect", "detect_image", "encode_masks", "evaluate", "in_photo", "network_input"]

CHUNK = 16


def evaluate(
    model: Model, data: CocoData, *, views: ViewsConfig, inference: InferenceConfig
) -> tuple[Scores, list[Detections]]:
    """COCO scores of `data` and the detections behind them; every rank takes its share and gets the whole."""
    shard = detect(model, data.records[rank() :: world_size()], views=views, inference=inference)
    detections = merge(gather_objects(shard), image_ids=[r.image_id for r in data.records])
    return score(data, detections), detections


def detect(
    model: Model, records: Sequence[ImageRecord], *, views: ViewsConfig, inference: InferenceConfig
) -> list[Detections]:
    """Detections of each record's photo. An unreadable validation photo counts as nothing found; `data validate` names it."""
    was_training = model.training
    model.eval()
    with ThreadPoolExecutor(2) as pool:
        decoded = pool.map(lambda r: _decode(r, views), records)
        found = [
            detect_image(model, record, image, inference=inference)
            for record, image in zip(records, decoded, strict=True)
        ]
    model.train(was_training)
    return found


def detect_image(model: Model, record: ImageRecord, image: Decoded | None, *, inference: InferenceConfig) -> Detections:
    """One photo: network input padded to multiples of 32, boxes and masks brought back to the photo's pixels."""
    if image is None:
        return Detections(
            image_id=record.image_id,
            boxes_xyxy=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int64),
            masks=(),
        )
    images, valid = network_input([image], next(model.parameters()).device)
    (found,) = predict(model, images, config=inference, valid=valid)
    return in_photo(found, image, image_id=record.image_id)


def network_input(photos: Sequence[Decoded], device: torch.device) -> tuple[Tensor, Tensor]:
    """Images "B 3 H W" in 0..1, padded right and below to the next multiples of 32, which must be the same for all of them; and bool "B H W", False there."""
    padded, valid = [], []
    for photo in photos:
        height, width = photo.image.shape[:2]
        pixels = torch.from_numpy(photo.image).to(device).permute(2, 0, 1).float() / 255
        padded.append(F.pad(pixels, (0, -width % 32, 0, -height % 32)))
        valid.append(F.pad(torch.ones_like(pixels[0], dtype=torch.bool), (0, -width % 32, 0, -height % 32)))
    return torch.stack(padded).contiguous(memory_format=torch.channels_last), torch.stack(valid)


def in_photo(found: ImagePredictions, photo: Decoded, *, image_id: int) -> Detections:
    """What was found at the network's size, in the pixels of the photo as it is on disk."""
    (height, width), (full_height, full_width) = photo.image.shape[:2], photo.size_hw
    device = found.boxes_xyxy.device
    scale = torch.tensor([full_width / width, full_height / height] * 2, device=device)
    boxes = found.boxes_xyxy.clamp(min=0).minimum(torch.tensor([width, height] * 2, device=device)) * scale
    return Detections(
        image_id=image_id,
        boxes_xyxy=boxes.cpu().numpy().astype(np.float32),
        scores=found.scores.cpu().numpy().astype(np.float32),
        labels=found.labels.cpu().numpy(),
        masks=encode_masks(found, (height, width), photo.size_hw),
    )


def encode_masks(
    found: ImagePredictions, content_hw: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[dict, ...] | None:
    """Masks thresholded at 0.5 at the photo's size, as compressed RLE; None where pycocotools is missing."""
    try:
        from pycocotools import mask as coder
    except ImportError:
        return None
    rles: list[dict] = []
    for start in range(0, len(found.masks), CHUNK):
        shapes = _full_size(found.masks[start : start + CHUNK], content_hw, size_hw).permute(1, 2, 0).cpu().numpy()
        rles += [
            {"size": list(size_hw), "counts": r["counts"].decode()} for r in coder.encode(np.asfortranarray(shapes))
        ]
    return tuple(rles)


def _full_size(masks: Tensor, content_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    content = paste(masks, content_hw)
    resized = (
        F.interpolate(content[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0]
        if content_hw != size_hw
        else content
    )
    return (resized > 0.5).to(torch.uint8)


def _decode(record: ImageRecord, views: ViewsConfig) -> Decoded | None:
    try:
        return decode_record(record, short_side=views.short_side, max_side=views.max_side)
    except BadImage:
        return None

"""How good are the classes of pixels: one confusion matrix over all images and ranks, IoU per class, at the size of the photo.

A model is a function here: images "B 3 H W" in 0..1, H and W multiples of 32 -> logits "B K h w" at any stride.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from depthbox.core.dist import gather_objects, rank, world_size
from depthbox.core.errors import InputError, UsageError
from depthbox.core.shapes import IGNORE
from depthbox.data.decode import BadImage, Decoded, read_image
from depthbox.data.label_map import read_labels
from depthbox.data.semantic import SemanticData, SemanticRecord
from depthbox.evaluate.instance import Scores
from depthbox.evaluate.runner import network_input

__all__ = ["Network", "classes_of_photo", "confusion", "evaluate_semantic", "likeliest", "semantic_scores", "sliding"]

BAND = 1 << 24
"""Numbers, of all classes, that are brought to a photo's size at once."""

Network = Callable[[Tensor], Tensor]


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Int64 "K K": pixels by true class (rows) and predicted class (columns); those whose truth is IGNORE are left out.

    >>> confusion(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 255]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs.ravel(), minlength=classes * classes).reshape(classes, classes)


def semantic_scores(matrix: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """`miou`, `pixel_accuracy`, `mean_accuracy`, `weighted_iou` (by the pixels of a class) and `iou/<class>` of a confusion matrix, 0..1.

    A class that neither truth nor prediction has is NaN, and no part of a mean; one that is only predicted counts as 0 in `miou`, and has no accuracy.
    """
    hits, true, found = np.diag(matrix).astype(float), matrix.sum(1), matrix.sum(0)
    union, total = true + found - hits, matrix.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        iou, accuracy = hits / union, hits / true
        weighted = np.nansum(iou * true) / total
        values = {"miou": _mean(iou), "pixel_accuracy": float(hits.sum() / total), "mean_accuracy": _mean(accuracy)}
    values["weighted_iou"] = float(weighted)
    return values | {f"iou/{name}": float(value) for name, value in zip(class_names, iou, strict=True)}


def sliding(network: Network, images: Tensor, *, window: int, stride: int = 0) -> Tensor:
    """Logits "B K H W" as the mean over overlapping squares of `window` pixels, `stride` apart (0: two thirds of it); the last end at the edge.

    Images no larger than one square are seen whole. Raises `UsageError` for a window that is no multiple of 32.
    """
    if window % 32 or window < 32 or not 0 <= stride <= window:
        raise UsageError(f"window={window} stride={stride}: the window takes a multiple of 32, the stride up to it")
    total: Tensor | None = None
    count = images.new_zeros(images.shape[-2:])
    for top in _starts(images.shape[-2], window, stride):
        for left in _starts(images.shape[-1], window, stride):
            place = (..., slice(top, top + window), slice(left, left + window))
            logits = _full_size(network, images[place])
            if total is None:
                total = logits.new_zeros((*logits.shape[:2], *images.shape[-2:]))
            total[place] += logits
            count[place] += 1
    assert total is not None
    return total / count


@torch.no_grad()
def classes_of_photo(
    network: Network, photo: Decoded, *, window: int = 0, device: torch.device | None = None
) -> np.ndarray:
    """Uint8 "H W" of a decoded photo, at the size it has on disk. `window` 0: the network sees all of it at once."""
    images, _ = network_input([photo], device or torch.device("cpu"))
    logits = sliding(network, images, window=window) if window else _full_size(network, images)
    height, width = photo.image.shape[:2]
    return likeliest(logits[0, :, :height, :width].float(), photo.size_hw).cpu().numpy()


def likeliest(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Uint8 "H W": the class of the largest of logits "K h w", brought to `size_hw` by bilinear interpolation.

    In bands of rows: a phone's photo for every class would take gigabytes.
    """
    (classes, height, _), (rows, columns) = logits.shape, size_hw
    found = torch.empty(size_hw, dtype=torch.uint8, device=logits.device)
    band = max(1, BAND // (classes * columns))
    for top in range(0, rows, band):
        centres = torch.arange(top, min(top + band, rows), device=logits.device, dtype=torch.float32) + 0.5
        place = (centres * (height / rows) - 0.5).clamp(0, height - 1)
        above = place.floor().long()
        below, share = (above + 1).clamp(max=height - 1), (place - above)[:, None]
        lines = torch.lerp(logits[:, above], logits[:, below], share)
        wide = F.interpolate(lines[None], size=(len(place), columns), mode="bilinear", align_corners=False)
        found[top : top + band] = wide[0].argmax(0)
    return found


def evaluate_semantic(
    network: Network, data: SemanticData, *, short_side: int | None, window: int = 0, device: torch.device | None = None
) -> Scores:
    """The scores of `data`: every rank sees its share of the photos, with their short side at `short_side`, and gets the whole."""
    matrix, unread = np.zeros((len(data.class_names),) * 2, np.int64), []
    for one in _read_ahead(data.records[rank() :: world_size()], short_side):
        if isinstance(one, BadImage):
            unread.append(str(one))
            continue
        photo, truth = one
        found = classes_of_photo(network, photo, window=window, device=device)
        matrix += confusion(found, truth, len(data.class_names))
    parts = gather_objects((matrix, unread))
    bad = sorted(fault for _, faults in parts for fault in faults)
    note = f"{len(bad)} of {len(data.records)} photos were not scored, such as {bad[0]}" if bad else ""
    return Scores(values=semantic_scores(sum(one for one, _ in parts), data.class_names), note=note)


def _read_ahead(
    records: Sequence[SemanticRecord], short_side: int | None
) -> Iterator[tuple[Decoded, np.ndarray] | BadImage]:
    """A photo and its classes; or why it has none: a map with an unknown id, that nobody looked at before the run, is no reason to lose it."""

    def read(record: SemanticRecord) -> tuple[Decoded, np.ndarray] | BadImage:
        try:
            photo = read_image(record.path, short_side=short_side, max_side=None)
            return photo, read_labels(record.label_path, record.table, expect_hw=photo.size_hw)
        except BadImage as error:
            return error
        except InputError as error:
            return BadImage(record.label_path, error.cause)

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(read, records)


def _full_size(network: Network, images: Tensor) -> Tensor:
    logits = network(images)
    if logits.shape[-2:] == images.shape[-2:]:
        return logits
    return F.interpolate(logits.float(), size=images.shape[-2:], mode="bilinear", align_corners=False)


def _starts(size: int, window: int, stride: int) -> list[int]:
    """
    >>> _starts(100, 64, 32), _starts(64, 64, 32), _starts(40, 64, 0)
    ([0, 32, 36], [0], [0])
    """
    step, last = stride or max(1, window * 2 // 3), max(0, size - window)
    return sorted({min(start, last) for start in range(0, last + step, step)})


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

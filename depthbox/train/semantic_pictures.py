"""The pictures that a run on classes of pixels ends with: what it sees in validation photos, and what its mixtures look like."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from depthbox.core.batch import Batch
from depthbox.core.errors import InputError
from depthbox.core.shapes import IGNORE
from depthbox.data.decode import BadImage, read_image
from depthbox.data.label_map import read_labels
from depthbox.data.local import local_batches
from depthbox.data.pack import unpack
from depthbox.data.semantic import SemanticData, SemanticRecord
from depthbox.evaluate.figures import disparity_colours, palette, pasted
from depthbox.evaluate.semantic import classes_of_photo
from depthbox.experiment import SemanticDataConfig
from depthbox.models.config import DenseModelConfig
from depthbox.models.dense_head import DenseNetwork, untrained_dense
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.parts.mixing_step import Mixing, Mixture, Words
from depthbox.supervision.parts.teacher import Teacher
from depthbox.train.checkpoint import load_model
from depthbox.train.job import Job

__all__ = ["class_colours", "pictures_of_classes"]

SHOWN, HEIGHT = 4, 144
_UNKNOWN = (128, 128, 128)

Columns = dict[str, list[Image.Image | None]]


def pictures_of_classes(job: Job) -> dict[str, Path]:
    """Write `out/predictions.png` and, of a run that mixes, `out/mixtures.png`; what cannot be shown is left out."""
    model = untrained_dense(cast(DenseModelConfig, job.experiment.model), classes=len(job.classes))
    model.load_state_dict(load_model(job.out / "model.safetensors"))
    columns = {"predictions": _predictions(job, model.eval()), "mixtures": _mixtures(job, model)}
    legend = [(name, palette(label)) for label, name in enumerate(job.classes)]
    found = {}
    for name, panels in columns.items():
        if any(panels.values()):
            found[name] = job.out / f"{name}.png"
            pasted(panels, legend).save(found[name])
    return found


def class_colours(labels: np.ndarray) -> np.ndarray:
    """Uint8 "H W 3" of labels "H W"; grey where nothing is known."""
    table = np.array([palette(label) for label in range(IGNORE)] + [_UNKNOWN], np.uint8)
    return table[labels]


def _predictions(job: Job, model: DenseNetwork) -> Columns:
    columns: Columns = {"photo": [], "truth": [], "prediction": []}
    records = job.val.records if isinstance(job.val, SemanticData) else ()
    for record in records[:: max(1, len(records) // SHOWN)][:SHOWN]:
        for name, panel in zip(columns, _seen(job, model, cast(SemanticRecord, record)), strict=False):
            columns[name].append(_panel(panel))
    return columns


def _seen(job: Job, model: DenseNetwork, record: SemanticRecord) -> list[np.ndarray]:
    """Photo, truth and prediction; nothing where a file cannot be used, which scoring has said by name."""
    views = cast(SemanticDataConfig, job.experiment.data).views
    try:
        photo = read_image(record.path, short_side=views.short_side, max_side=None)
        truth = read_labels(record.label_path, record.table, expect_hw=photo.size_hw)
    except (BadImage, InputError):  # of its label map only some were read before the run
        return []
    return [photo.image, class_colours(truth), class_colours(classes_of_photo(model.class_logits, photo))]


def _mixtures(job: Job, model: DenseNetwork) -> Columns:
    """Of the run's last step, with the finished model as its own teacher."""
    config = cast(DepthSsdaConfig, job.experiment.method)
    if config.mixing == "none" and not config.cross_domain:
        return {}
    last = job.experiment.schedule.steps - 1
    try:
        batch = unpack(next(local_batches(job.source, job.depth, range(last, last + 1), processes=0)))
    except InputError:
        return {}
    mixing = Mixing(config, Teacher(model, start=0, keep=0.0))
    found, _ = mixing(batch, Words.of(batch), last)
    columns: Columns = {
        name: [] for name in ("image", "its disparity", "partner", "partner's disparity", "mixture", "taught")
    }
    for mixture in found.values():
        for row in range(min(len(mixture.own), SHOWN)):
            for name, panel in zip(columns, _mixed(batch, mixture, row), strict=True):
                columns[name].append(None if panel is None else _panel(panel))
    return {name: panels for name, panels in columns.items() if any(panels)}


def _mixed(batch: Batch, mixture: Mixture, row: int) -> list[np.ndarray | None]:
    views, own, other = batch.views, mixture.own[row], mixture.other[row]
    depths = [
        None if views.disparity is None else disparity_colours(views.disparity[i, 0].numpy()) for i in (own, other)
    ]
    images = [_pixels(image) for image in (views.weak[own], views.weak[other], mixture.pixels.images[row])]
    taught = class_colours(mixture.pixels.labels[row].numpy())
    return [images[0], depths[0], images[1], depths[1], images[2], taught]


def _pixels(image: torch.Tensor) -> np.ndarray:
    return (image.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _panel(pixels: np.ndarray) -> Image.Image:
    panel = Image.fromarray(pixels)
    return panel.resize((max(1, round(panel.width * HEIGHT / panel.height)), HEIGHT), Image.Resampling.NEAREST)

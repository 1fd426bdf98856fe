"""Data with a class for every pixel, small enough for every test.

Photos whose colours are their classes: red, green or blue shapes with noise, label ids 10, 20, 30 and a void corner of 0; or the little video with a class above and one below.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_video import write_tiny_video

from depthbox.core.config import vary
from depthbox.data.semantic_source import SemanticSource
from depthbox.experiment import Experiment, SemanticDataConfig
from depthbox.supervision.config import FullConfig
from depthbox.train.semantic_data import semantic_sets

__all__ = ["CLASSES", "IDS", "RENDERED", "tiny_source", "write_labelled_video", "write_tiny_semantic"]

CLASSES = ("red", "green", "blue")
IDS = (10, 20, 30)
RENDERED = {"data.source.images": "rendered", "data.source.labels": "rendered_labels"}
"""A source domain, where it was written."""

_PLAIN: dict[str, object] = {
    "data.views.jitter": 0.0,
    "data.views.blur": 0.0,
    "data.views.short_side": 48,
    "batch_size": 4,
}


def write_tiny_semantic(
    folder: Path,
    *,
    photos: int = 6,
    size_hw: tuple[int, int] = (48, 64),
    seed: int = 0,
    images: str = "photos",
    labels: str = "labels",
) -> Path:
    """`folder/IMAGES/p_NN.png`, `folder/LABELS/p_NN.png` and `folder/table.json`."""
    for name in (images, labels):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ids: dict[str, str | None] = {str(number): name for number, name in zip(IDS, CLASSES, strict=True)}
    (folder / "table.json").write_text(json.dumps({"ids": {"0": None} | ids}))
    for number in range(photos):
        classes = _scene(np.random.default_rng((seed, number)), size_hw)
        photo = np.full((*size_hw, 3), 20, np.uint8)
        rng = np.random.default_rng((seed, number, 1))
        for channel in range(3):
            photo[..., channel][classes == channel] = rng.integers(200, 255, (classes == channel).sum())
        Image.fromarray(photo).save(folder / images / f"p_{number:02d}.png")
        values = np.array(IDS, np.uint8)[classes]
        values[:3, :3] = 0
        Image.fromarray(values).save(folder / labels / f"p_{number:02d}.png")
    return folder


def _scene(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Class 0 above, class 1 below, a few rectangles of class 2."""
    height, width = size_hw
    classes = np.zeros(size_hw, np.int64)
    classes[int(height * rng.uniform(0.3, 0.6)) :] = 1
    for _ in range(3):
        top, left = rng.integers(height - 12), rng.integers(width - 16)
        classes[top : top + rng.integers(6, 12), left : left + rng.integers(8, 16)] = 2
    return classes


def write_labelled_video(folder: Path) -> Path:
    """`folder/seq_N/{frame,depth,semantic}_NNN.png`: three sequences of the little video, 96 x 64, class far above, near below."""
    write_tiny_video(folder, sequences=3, size_hw=(64, 96))
    classes = np.repeat(np.array([1, 2], np.uint8), 32)[:, None].repeat(96, 1)
    for frame in folder.glob("seq_*/frame_*.png"):
        Image.fromarray(classes).save(frame.with_name(frame.name.replace("frame", "semantic")))
    (folder / "table.json").write_text(json.dumps({"ids": {"1": "far", "2": "near"}}))
    return folder


def tiny_source(folder: Path, **settings: object) -> SemanticSource:
    """The training stages of `folder`, every photo labelled unless `settings` say otherwise."""
    base = Experiment(method=FullConfig(), data=SemanticDataConfig(table="table.json"))
    named = {"data.train.images": "photos", "data.train.labels": "labels", "data.labelled_share": 1.0}
    experiment = vary(base, named | _PLAIN | settings)
    sets = semantic_sets(experiment, folder)
    assert isinstance(experiment.data, SemanticDataConfig)
    return SemanticSource(
        data=sets.train, plan=sets.plan, views=experiment.data.views, masks=False, guard_folder=str(folder / "guard")
    )

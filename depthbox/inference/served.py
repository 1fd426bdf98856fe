"""What `mlflow models serve` runs: pictures as bytes in, COCO results or label maps out. MLflow finds it by name (`loader_module`); nothing is unpickled."""

import base64
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from depthbox.data.decode import decode_image
from depthbox.evaluate.label_maps import LabelMap, indexed_png
from depthbox.evaluate.results import coco_results
from depthbox.inference.opened import TrainedModel, open_model
from depthbox.inference.predictor import PixelPredictor, predictor_of
from depthbox.tracking.models import Servable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Served", "servable"]

NEEDED = (
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "numpy",
    "scipy",
    "pillow",
    "pycocotools",
    "filelock",
    "mlflow",
)


class Served:
    def __init__(self, trained: TrainedModel) -> None:
        self.trained, self.predictor = trained, predictor_of(trained)

    def predict(self, frame: "pd.DataFrame", params: dict | None = None) -> list[dict]:
        """COCO results of all rows of the column "image", those with a `score`; of a class for every pixel one answer a row, see `_label_map`.

        `image_id` is the row, from 0. Raises `BadImage` for bytes that are no picture.
        """
        said, views = params or {}, self.predictor.views
        photos = [
            decode_image(bytes(data), f"image {row}", short_side=views.short_side, max_side=views.max_side)
            for row, data in enumerate(frame["image"])
        ]
        if isinstance(self.predictor, PixelPredictor):
            seeing = PixelPredictor(self.predictor.model, views=self.predictor.views, window=int(said.get("window", 0)))
            return [self._label_map(one) for one in seeing.find(photos, range(len(photos)))]
        found, least = self.predictor.find(photos, range(len(photos))), float(said.get("score", 0.3))
        return [one for one in coco_results(found, self.trained.category_ids) if one["score"] >= least]

    def _label_map(self, found: LabelMap) -> dict:
        """`label_map`: a PNG as base64, whose pixels are the ids of `classes`; `shares`: what part of the pixels each class has."""
        known = self.trained
        counts = np.bincount(found.classes.ravel(), minlength=len(known.classes))
        return {
            "image_id": found.image_id,
            "size": list(found.classes.shape),
            "label_map": base64.b64encode(indexed_png(found.classes, known.category_ids, known.colours)).decode(),
            "shares": dict(zip(known.classes, (counts / found.classes.size).tolist(), strict=True)),
            "classes": known.legend,
        }


def servable(file: Path) -> Servable:
    """The weights as MLflow's server runs them: with this package's code, and the versions installed here."""
    import depthbox

    assert depthbox.__file__ is not None
    versions = tuple(f"{name}=={importlib.metadata.version(name)}" for name in NEEDED)
    parameter = ("window", 0) if open_model(str(file)).dense else ("score", 0.3)
    code = Path(depthbox.__file__).parent
    return Servable(file=file, loader=__name__, code=code, requirements=versions, parameter=parameter)


def _load_pyfunc(path: str) -> Served:
    return Served(open_model(path))

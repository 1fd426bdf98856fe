"""What `mlflow models serve` runs: pictures as bytes in, COCO results out. MLflow finds it by name (`loader_module`); nothing is unpickled."""

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from depthbox.data.decode import decode_image
from depthbox.evaluate.results import coco_results
from depthbox.inference.opened import TrainedModel, open_model
from depthbox.inference.predictor import predictor_of
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
        self.category_ids, self.predictor = trained.category_ids, predictor_of(trained)

    def predict(self, frame: "pd.DataFrame", params: dict | None = None) -> list[dict]:
        """COCO results of all rows of the column "image"; `image_id` is the row, from 0. Raises `BadImage` for bytes that are no picture."""
        least, views = float((params or {}).get("score", 0.3)), self.predictor.views
        photos = [
            decode_image(bytes(data), f"image {row}", short_side=views.short_side, max_side=views.max_side)
            for row, data in enumerate(frame["image"])
        ]
        found = self.predictor.find(photos, range(len(photos)))
        return [one for one in coco_results(found, self.category_ids) if one["score"] >= least]


def servable(file: Path) -> Servable:
    """The weights as MLflow's server runs them: with this package's code, and the versions installed here."""
    import depthbox

    assert depthbox.__file__ is not None
    versions = tuple(f"{name}=={importlib.metadata.version(name)}" for name in NEEDED)
    return Servable(file=file, loader=__name__, code=Path(depthbox.__file__).parent, requirements=versions)


def _load_pyfunc(path: str) -> Served:
    return Served(open_model(path))

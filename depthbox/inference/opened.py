"""A trained model, wherever it is kept: a run folder, a safetensors file, a run of MLflow, a registered version."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from depthbox.core.config import flatten, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.data.config import SemanticViewsConfig, ViewsConfig
from depthbox.evaluate.figures import palette
from depthbox.experiment import PLACES, VideoDataConfig
from depthbox.models.config import DenseModelConfig, InferenceConfig, ModelConfig, SdeModelConfig
from depthbox.models.segmenter import count_classes
from depthbox.tracking.models import fetched_model, is_stored
from depthbox.train.checkpoint import load_model
from depthbox.train.saved import open_run_folder

__all__ = ["TrainedModel", "open_model"]

_OF_OBJECTS: dict[str, Callable[[], Any]] = {"model": ModelConfig, "views": ViewsConfig, "inference": InferenceConfig}
_OF_PIXELS = _OF_OBJECTS | {"model": DenseModelConfig, "views": SemanticViewsConfig}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """Weights and everything that is needed to use them. No file that could run code is ever read for it."""

    name: str
    """As the person named it."""
    model: ModelConfig | DenseModelConfig
    """A `DenseModelConfig` gives every pixel a class; the others find objects."""
    views: ViewsConfig | SemanticViewsConfig
    inference: InferenceConfig
    """Of objects."""
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    """Of the training annotations; where the weights do not say, 1..K of objects and 0..K-1 of pixels."""
    colours: tuple[tuple[int, int, int], ...]
    """Of the classes: those of the training label maps, where they have some."""
    state: Mapping[str, Tensor]
    digest: str
    """SHA-256 hex of the weights' file."""
    said: Mapping[str, object]
    """What the file says about its making: method, settings, data digest, scores. Empty for a checkpoint."""

    @property
    def dense(self) -> bool:
        """Whether it gives every pixel a class, and finds no objects."""
        return isinstance(self.model, DenseModelConfig)

    @property
    def legend(self) -> list[dict]:
        """Which number in a label map is which class, and its colour."""
        known = zip(self.category_ids, self.classes, self.colours, strict=True)
        return [{"id": number, "name": name, "colour": list(rgb)} for number, name, rgb in known]


def open_model(place: str, uri: str = "") -> TrainedModel:
    """The model at `place`: a run folder, a .safetensors file of a run, and from the store at `uri` a run id or models:/NAME@ALIAS.

    Raises `InputError` for a place without a model and for weights that do not say what network they are of.
    """
    if is_stored(place) and not Path(place).exists():
        with fetched_model(place, uri) as file:
            return _from_file(file, name=place)
    path = Path(place).expanduser()
    if path.is_file():
        return _from_file(path, name=place)
    if (path / "model.safetensors").is_file() and not (path / "experiment.json").is_file():
        return _from_file(path / "model.safetensors", name=place)
    return _from_run(path, name=place)


def _from_run(folder: Path, *, name: str) -> TrainedModel:
    """What an older version did not write into the weights stands beside them."""
    run = open_run_folder(folder)
    experiment, result = run.experiment, folder / "result.json"
    assert not isinstance(experiment.data, VideoDataConfig) and not isinstance(experiment.model, SdeModelConfig)
    beside: dict[str, object] = {
        "settings": {path: v for path, v in flatten(experiment).items() if not path.startswith((*PLACES, "method"))}
    }
    if result.is_file() and run.weights.parent == folder:
        beside["scores"] = json.loads(result.read_text())["scores"]
    said = beside | _metadata(run.weights)
    return _trained(run.weights, name, said, experiment.model, experiment.data.views, experiment.inference)


def _from_file(file: Path, *, name: str) -> TrainedModel:
    if file.suffix != ".safetensors":
        load_model(file)  # says why
    said = _metadata(file)
    try:
        kinds = _OF_PIXELS if "multi_task" in (said.get("model") or {}) else _OF_OBJECTS
        configs = [vary(kind(), said.get(key) or {}) for key, kind in kinds.items()]
    except (UsageError, AttributeError, TypeError) as error:
        raise InputError(file, "metadata", str(error), "it was written by another version; train anew") from None
    if "model" not in said:
        cause = "does not say which network its weights are of"
        raise InputError(file, "metadata", cause, "give the model.safetensors of a finished run, or its folder")
    return _trained(file, name, said, *configs)


def _trained(
    file: Path,
    name: str,
    said: dict,
    model: ModelConfig | DenseModelConfig,
    views: ViewsConfig | SemanticViewsConfig,
    inference: InferenceConfig,
) -> TrainedModel:
    state = load_model(file)
    try:
        count = count_classes(model, state)
    except KeyError as error:
        raise InputError(file, "", f"has no {error.args[0]}: not its model", "give a run folder") from None
    classes = tuple(said.get("classes") or (f"class {i + 1}" for i in range(count)))
    first = 0 if isinstance(model, DenseModelConfig) else 1
    ids = tuple(said.get("category_ids") or range(first, first + count))
    colours = said.get("colours") or [None] * count
    if not len(classes) == len(ids) == len(colours) == count:
        raise InputError(file, "metadata", f"names {len(classes)} classes, the weights have {count}", "train anew")
    return TrainedModel(
        name=name,
        model=model,
        views=views,
        inference=inference,
        classes=classes,
        category_ids=ids,
        colours=tuple(tuple(rgb) if rgb else palette(number) for number, rgb in enumerate(colours)),
        state=state,
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        said=said,
    )


def _metadata(file: Path) -> dict:
    try:
        with safe_open(file, framework="pt") as opened:
            return {key: json.loads(value) for key, value in (opened.metadata() or {}).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(file, "", f"cannot be read ({error})", "give a finished run of `depthbox train`") from None

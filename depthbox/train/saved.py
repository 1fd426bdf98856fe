"""A run folder read back: its experiment, its classes and its model, without the weights that it once started from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import Experiment
from depthbox.models.backbone import bare_backbone
from depthbox.models.config import DenseModelConfig, ModelConfig, SdeModelConfig
from depthbox.models.dense_head import DenseNetwork, untrained_dense
from depthbox.models.segmenter import Model, build, compose
from depthbox.recipes import box_depth, depth_ssda
from depthbox.train.checkpoint import classes_of, latest_checkpoint, load_model
from depthbox.train.state import choose_device, mixed_precision

__all__ = ["SavedRun", "open_run_folder", "with_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """What a run folder says about itself."""

    folder: Path
    experiment: Experiment
    """As it was run, but for its method: prediction needs nothing of it."""
    weights: Path
    """The finished model, else that of the newest checkpoint."""
    classes: tuple[str, ...]
    """Empty where only a checkpoint is there."""

    def model(self, *, classes: int, experiment: Experiment) -> Model | DenseNetwork:
        """The trained network on the device and in the precision of `experiment`, ready to predict."""
        device = choose_device(experiment.device)
        assert not isinstance(experiment.model, SdeModelConfig)
        model = with_weights(experiment.model, load_model(self.weights), classes=classes, named=str(self.weights))
        model.mixed = mixed_precision(experiment.schedule.precision, device)
        return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_run_folder(folder: Path) -> SavedRun:
    """Raises `InputError` for a folder that no training run has written, or that has no model yet."""
    if not (folder / "experiment.json").is_file():
        cause = "holds no experiment.json" if folder.is_dir() else "there is no such folder"
        raise InputError(folder, "", cause, "give the run folder (out=) of `depthbox train`")
    if "data.train.sequences" in (folder / "experiment.json").read_text():
        next_step = f"score it with `depthbox depth evaluate depth.source=run:{folder} images=DIR depths=DIR`"
        raise InputError(folder, "", "is the run of a depth network, which has no masks and no boxes", next_step)
    checkpoint, weights = latest_checkpoint(folder), folder / "model.safetensors"
    if not weights.is_file():
        if checkpoint is None:
            raise InputError(folder, "", "no model and no checkpoint is in it yet", "train on with the same command")
        weights = checkpoint.evaluated
    experiment = _experiment(folder / "experiment.json")
    return SavedRun(folder=folder, experiment=experiment, weights=weights, classes=classes_of(weights))


def _experiment(record: Path) -> Experiment:
    try:
        settings = json.loads(record.read_text())["settings"]
        semantic = "data.train.labels" in settings
        return vary(
            depth_ssda() if semantic else box_depth(),
            {name: value for name, value in settings.items() if not name.startswith("method.")},
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:  # UsageError is a ValueError
        words = str(error) if isinstance(error, UsageError) else f"not the record of a run ({error})"
        raise InputError(record, "", words, "it was written by another version, or edited; train anew") from None


@overload
def with_weights(config: ModelConfig, state: Mapping[str, Tensor], *, classes: int, named: str) -> Model: ...
@overload
def with_weights(
    config: ModelConfig | DenseModelConfig, state: Mapping[str, Tensor], *, classes: int, named: str
) -> Model | DenseNetwork: ...
def with_weights(
    config: ModelConfig | DenseModelConfig, state: Mapping[str, Tensor], *, classes: int, named: str
) -> Model | DenseNetwork:
    """The network of `config` with the weights `state`, in float32 on the CPU, ready to predict. Raises `InputError` where they do not fit."""
    model = _untrained(config, classes=classes)
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        fault = str(error).splitlines()[-1].strip()
        cause = f"does not fit {classes} classes and {config.backbone}: {fault}"
        raise InputError(named, "", cause, "give the classes and settings of that run; or train anew") from None
    return model.eval()


def _untrained(config: ModelConfig | DenseModelConfig, *, classes: int) -> Model | DenseNetwork:
    """The architecture alone: where a run started from pretrained weights, they may be gone, and are not needed."""
    if isinstance(config, DenseModelConfig):
        return untrained_dense(config, classes=classes)
    if config.weights == "none":
        return build(config, classes=classes)
    return compose(config, bare_backbone(config.backbone, weights=config.weights), classes=classes)

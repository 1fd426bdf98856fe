"""Checkpoints that are either whole or not there: a folder of safetensors and JSON, renamed into place when complete."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from depthbox.core.errors import InputError

__all__ = [
    "Checkpoint",
    "classes_of",
    "hand_over",
    "latest_checkpoint",
    "load_model",
    "restore",
    "save_checkpoint",
    "weights_file",
]

KEPT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    folder: Path
    step: int
    """Steps done: training goes on with this one."""

    @property
    def evaluated(self) -> Path:
        """The weights that count: the student's, or its teacher's once it has one."""
        name = json.loads((self.folder / "state.json").read_text()).get("evaluated", "model")
        return self.folder / f"{name}.safetensors"


def save_checkpoint(
    out: Path,
    *,
    step: int,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, object],
    classes: Sequence[str] = (),
) -> Path:
    """Write `out/checkpoints/step-NNNNNNNN` atomically and remove all but the newest two.

    `modules` by file name ("model", "teacher"), `state` is JSON; its "evaluated" names the module whose predictions count, `classes` what they tell apart. Raises `InputError` naming the folder when the disk is full.
    """
    folder = out / "checkpoints" / f"step-{step:08d}"
    building = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        building.mkdir(parents=True)
        for name, module in modules.items():
            save_file(_plain(module.state_dict()), building / f"{name}.safetensors", {"classes": json.dumps(classes)})
        save_file(_optimizer_tensors(optimizer), building / "optimizer.safetensors")
        (building / "state.json").write_text(json.dumps({"step": step, **state}))
        _flush(building)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(building, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(building, ignore_errors=True)
        raise InputError(
            folder,
            "",
            f"the checkpoint cannot be written ({error})",
            "free disk space or set out=; the last whole checkpoint is untouched, the same command goes on from it",
        ) from error
    _remove_old(folder.parent)
    return folder


def latest_checkpoint(out: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run folder, or None."""
    folders = sorted((out / "checkpoints").glob("step-*/state.json"))
    return (
        Checkpoint(folder=folders[-1].parent, step=int(folders[-1].parent.name.removeprefix("step-")))
        if folders
        else None
    )


def hand_over(source: Path, target: Path) -> None:
    """Give the run folder `target` the newest checkpoint of another run, whole or not at all; one that `target` has is left alone.

    Raises `InputError` where `source` has none.
    """
    newest = latest_checkpoint(source)
    if newest is None:
        raise InputError(source, "", "has no checkpoint to hand over", "run the command again")
    folder = target / "checkpoints" / newest.folder.name
    if latest_checkpoint(target) is not None:
        return
    building = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    building.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(newest.folder, building)
    _flush(building)
    os.replace(building, folder)


def restore(checkpoint: Checkpoint, *, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict:
    """Load everything a checkpoint holds; returns its JSON state."""
    for name, module in modules.items():
        module.load_state_dict(load_file(checkpoint.folder / f"{name}.safetensors"))
    _load_optimizer(optimizer, load_file(checkpoint.folder / "optimizer.safetensors"))
    return json.loads((checkpoint.folder / "state.json").read_text())


def load_model(path: Path) -> dict[str, Tensor]:
    """The model weights of a run folder, a checkpoint folder or a safetensors file; anything else is refused without reading it."""
    file = weights_file(path)
    try:
        # A teacher's file names its network "model.".
        return {name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}
    except SafetensorError as error:
        raise InputError(
            file, "", f"not a safetensors file ({error})", "convert it with safetensors.torch.save_file"
        ) from error


def weights_file(path: Path) -> Path:
    """Where `load_model` reads. Raises `InputError` where there are no weights, or none in safetensors."""
    newest = latest_checkpoint(path) if path.is_dir() else None
    candidates = [path] if path.is_file() else [path / "model.safetensors", *([newest.evaluated] if newest else [])]
    file = next((c for c in candidates if c.is_file()), None)
    if file is None:
        raise InputError(
            path,
            "",
            "holds no model",
            "give a run folder (with model.safetensors or checkpoints/) or a safetensors file",
        )
    if file.suffix != ".safetensors":
        raise InputError(
            file,
            "",
            "weights are read from .safetensors only, because other formats can execute code",
            "convert it with safetensors.torch.save_file",
        )
    return file


def classes_of(weights: Path) -> tuple[str, ...]:
    """The classes that the weights of a run tell apart; none where the file does not say."""
    try:
        with safe_open(weights, framework="pt") as file:
            return tuple(json.loads((file.metadata() or {}).get("classes", "[]")))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(weights, "", f"cannot be read ({error})", "train on with the same command") from None


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flush(folder: Path) -> None:
    """Files before their folder's new name: after a power cut a named checkpoint is whole."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _remove_old(folder: Path) -> None:
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    for torn in folder.glob(".step-*"):
        shutil.rmtree(torn, ignore_errors=True)

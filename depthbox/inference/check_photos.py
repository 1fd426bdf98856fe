"""Photos to compare an exported model on: those given, else the run's own validation photos, else rendered scenes."""

from pathlib import Path

import torch
from torch import Tensor

from depthbox.core.errors import InputError, UsageError
from depthbox.data.decode import BadImage, read_image
from depthbox.inference.opened import TrainedModel
from depthbox.train.inputs import files_of

__all__ = ["check_photos"]

PHOTOS = 6


def check_photos(trained: TrainedModel, images: str) -> list[Tensor]:
    """At most six, "3 H W" in 0..1 at the model's size. Raises `InputError` where none of `images` can be read."""
    if images:
        files = files_of(images, Path.cwd(), name="images")
        found = _read(files, trained)
        if not found:
            raise InputError(images, "", "none of the first photos can be read", "give photos: images=DIR")
        return found
    return _read(_own(trained), trained) or _scenes(trained)


def _own(trained: TrainedModel) -> list[str]:
    settings = trained.said.get("settings") or {}
    assert isinstance(settings, dict)
    root, folder = Path(str(settings.get("data.root") or "")), str(settings.get("data.val.images") or "")
    try:
        return files_of(folder, root, name="images") if folder else []
    except (InputError, UsageError):
        return []  # the model has come to another machine


def _read(files: list[str], trained: TrainedModel) -> list[Tensor]:
    found: list[Tensor] = []
    for file in files[: 3 * PHOTOS]:
        try:
            photo = read_image(file, short_side=trained.views.short_side, max_side=trained.views.max_side)
        except BadImage:
            continue
        found.append(torch.from_numpy(photo.image).permute(2, 0, 1).float() / 255)
    return found[:PHOTOS]


def _scenes(trained: TrainedModel) -> list[Tensor]:
    from depthbox.data.scenes import render_scene

    side = trained.views.short_side
    scenes = [render_scene("check", index, seed=0, size_hw=(side, side * 4 // 3)) for index in range(PHOTOS)]
    return [torch.from_numpy(scene.image.copy()).permute(2, 0, 1).float() / 255 for scene in scenes]

"""[Ray] The same as a Ray Data job: a pool of actors, each with the model; results come back to the driver, which writes them down."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from depthbox.core.errors import InputError
from depthbox.data.config import SemanticViewsConfig, ViewsConfig
from depthbox.data.fetch import DataCopy
from depthbox.data.stream import map_blocks
from depthbox.inference.opened import TrainedModel
from depthbox.inference.photos import Answer, Photo, PhotoWork
from depthbox.inference.predictor import predictor_of
from depthbox.models.config import InferenceConfig

__all__ = ["Pool", "answers_on_ray"]

FILES = ("overlay", "label_map")
TRIES = 4
"""Of an actor and of a task: a photo that kills its decoder three times is set aside before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What is asked of the cluster, and what each actor must know; picklable."""

    actors: int
    cpus: float
    gpus: float
    device: str
    precision: str
    views: ViewsConfig | SemanticViewsConfig
    inference: InferenceConfig
    window: int
    copies: tuple[DataCopy, ...]
    """Of photos in an object store: every machine makes sure of its own."""


def answers_on_ray(
    photos: Sequence[Photo], work: PhotoWork, trained: TrainedModel, pool: Pool, *, batch_size: int
) -> Iterator[Answer]:
    """Raises `InputError` where the actors do not fit the cluster, which Ray would wait for without a word."""
    have = ray.cluster_resources()
    for name, asked in (("CPU", pool.actors * pool.cpus), ("GPU", pool.actors * pool.gpus)):
        if asked > have.get(name, 0.0):
            cause = f"{pool.actors} actors ask for {asked:g} {name}, the cluster has {have.get(name, 0.0):g}"
            raise InputError("ray", "", cause, "set ray.actors= or ray.actor_cpus= lower")
    ray.data.DataContext.get_current().enable_progress_bars = False
    by_id = {photo.image_id: photo for photo in photos}
    blocks = [
        pa.table(
            {"image_id": [p.image_id for p in part], "name": [p.name for p in part], "path": [p.path for p in part]}
        )
        for part in (photos[start : start + batch_size] for start in range(0, len(photos), batch_size))
    ]
    rows = map_blocks(
        ray.data.from_blocks(blocks),
        _Actor,
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        compute=ray.data.ActorPoolStrategy(size=pool.actors),
        max_restarts=TRIES,
        max_task_retries=TRIES,
        fn_constructor_args=(ray.put(trained), work, pool),
    )
    for row in rows.iter_rows():
        files = {name: bytes(row[name]) for name in FILES}
        yield Answer(photo=by_id[int(row["image_id"])], row=json.loads(row["row"]), **files)


class _Actor:
    def __init__(self, trained: Any, work: PhotoWork, pool: Pool) -> None:
        import torch

        torch.set_num_threads(max(1, round(pool.cpus)))
        for copy in pool.copies:
            copy.ensure()
        os.makedirs(work.guard_folder, exist_ok=True)
        model: TrainedModel = ray.get(trained)
        self.work = work
        self.predictor = predictor_of(
            model,
            device=pool.device,
            precision=pool.precision,
            views=pool.views,
            inference=pool.inference,
            window=pool.window,
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        columns = zip(batch["image_id"].tolist(), batch["name"].tolist(), batch["path"].tolist(), strict=True)
        photos = [Photo(image_id=i, name=name, path=path) for i, name, path in columns]
        read = [self.work.read(photo, self.predictor) for photo in photos]
        found = self.work.answer(photos, read, self.predictor)
        return {
            "image_id": batch["image_id"],
            "row": np.array([json.dumps(one.row) for one in found], dtype=object),
            **{name: np.array([getattr(one, name) for one in found], dtype=object) for name in FILES},
        }

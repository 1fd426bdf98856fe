"""The disparity of all photos of a data set, inferred before a run needs it and kept in the cache, at the size the run will ask for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from depthbox.core.errors import UsageError
from depthbox.data.label_table import LabelTable
from depthbox.data.local import local_batches
from depthbox.data.pairing import InOrder, OutlineSource
from depthbox.data.semantic import SemanticData, digest_of, read_semantic
from depthbox.data.shape import DepthSetup
from depthbox.data.source import Packed
from depthbox.experiment import DepthConfig, RayConfig, SemanticDataConfig
from depthbox.train.depth_setup import depth_setup
from depthbox.train.inputs import data_copy, data_root
from depthbox.train.pairing import BATCH, Stream

__all__ = ["Filled", "fill_cache"]

_NO_TABLE = LabelTable(name="none", class_names=(), ids={}, colours={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    images: int
    inferences: int
    hits: int
    """Were there already."""
    unreadable: tuple[str, ...]
    cache: str


def fill_cache(
    data: SemanticDataConfig,
    depth: DepthConfig,
    *,
    launcher: str,
    ray: RayConfig,
    out: Path,
    say: Callable[[str], None],
) -> Filled:
    """Every photo of `data.train` and `data.source` once. Raises `UsageError` where depth comes from no network, `InputError` in words.

    On Ray the cluster's actors do it, each into the cache folder as its machine sees it.
    """
    copy = data_copy(data.root)
    root = Path(copy.folder) if copy else data_root(data.root)
    photos = _photos(data, root)
    setup = depth_setup(depth, root, [record.path for record in photos.records], uri="")
    if setup is None or depth.source.startswith("maps:"):
        raise UsageError(f"depth.source={depth.source}: there is nothing to infer and keep; name builtin, hf: or run:")
    images = len(photos.records)
    plan = InOrder(images=images, batch_size=min(BATCH, images), seed=0)
    guard = str(out / "decoding")
    source = OutlineSource(data=photos, plan=plan, views=data.views, masks=False, guard_folder=guard, copy=copy)
    stream = partial(_local, setup, data.processes) if launcher == "local" else _on_ray(setup, ray)
    bad: dict[int, str] = {}
    inferences = 0
    for pack in stream(source, range(-(-images // plan.batch_size))):
        bad |= {index: f"{path}: {reason}" for index, path, reason in pack.outcome.bad}
        inferences += pack.outcome.inferences
        if pack.step % 10 == 9:
            say(f"depth of {min((pack.step + 1) * plan.batch_size, images)}/{images} photos, {inferences} inferred")
    # Not the packs' own hits: the last step begins again with the first photos.
    hits = images - inferences - len(bad)
    return Filled(
        images=images, inferences=inferences, hits=hits, unreadable=tuple(bad.values()), cache=setup.cache_folder
    )


def _photos(data: SemanticDataConfig, root: Path) -> SemanticData:
    """Target and source, without a look at labels."""
    sets = [
        read_semantic(root, images=images, labels="", table=_NO_TABLE, name=name)
        for name, images in (("data.train", data.train.images), ("data.source", data.source.images))
        if images or name == "data.train"
    ]
    records = tuple(replace(record, supervision="none") for one in sets for record in one.records)
    return replace(sets[0], records=records, digest=digest_of(records))


def _local(setup: DepthSetup, processes: int, source: OutlineSource, steps: range) -> Iterator[Packed]:
    return local_batches(source, setup, steps, processes=processes)


def _on_ray(setup: DepthSetup, config: RayConfig) -> Stream:
    from depthbox.data.shape import StreamShape
    from depthbox.train.ray_launch import driver_packs, start_ray

    start_ray(config.address)
    gpus = 1.0 if setup.device.startswith("cuda") else 0.0
    shape = StreamShape(
        world_size=1,
        task_cpus=config.task_cpus,
        depth_actors=config.depth_actors,
        depth_actor_cpus=config.depth_actor_cpus,
        depth_actor_gpus=gpus,
    )
    return partial(driver_packs, setup, shape)

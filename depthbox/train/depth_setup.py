"""`depth.*` of an experiment -> the depth stage of its data."""

import logging
from collections.abc import Sequence
from pathlib import Path

from depthbox.core.errors import InputError, UsageError
from depthbox.data.shape import DepthSetup
from depthbox.depth.cache import default_cache_folder
from depthbox.depth.disturb import DisturbConfig
from depthbox.depth.estimator import build_estimator
from depthbox.depth.maps import MapsDepth
from depthbox.experiment import DepthConfig
from depthbox.train.inputs import depth_spec

__all__ = ["depth_setup"]

log = logging.getLogger("depthbox")


def depth_setup(depth: DepthConfig, root: Path, photos: Sequence[str], *, uri: str) -> DepthSetup | None:
    """How to make the depth stage for `photos`, after a look at what can be wrong: weights, maps that are missing, their sign. None: no depth."""
    spec = depth_spec(depth.source, root, uri=uri)
    estimator = build_estimator(spec, device=depth.device, maps_kind=depth.maps.kind, maps_zero=depth.maps.zero)
    if estimator is None and depth.disturb != DisturbConfig():
        raise UsageError("depth.disturb has nothing to disturb; set depth.source")
    if estimator is None:
        return None
    if isinstance(estimator, MapsDepth):
        _check_maps(estimator, photos, trust_sign=depth.maps.sign == "trust")
    cache = Path(depth.cache).expanduser() if depth.cache else default_cache_folder()
    return DepthSetup(
        spec=spec,
        cache_folder=str(cache.absolute()),
        device=depth.device,
        maps_kind=depth.maps.kind,
        maps_zero=depth.maps.zero,
    )


def _check_maps(maps: MapsDepth, photos: Sequence[str], *, trust_sign: bool) -> None:
    maps.require(photos)
    for finding in maps.findings(photos):
        if "inverted" in finding and not trust_sign:
            cause = finding.removeprefix(f"{maps.folder}: ")
            raise InputError(maps.folder, "", cause, "depth.maps.sign=trust if the maps are right as they are")
        log.warning("%s", finding)

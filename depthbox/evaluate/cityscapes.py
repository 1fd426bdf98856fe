"""Detections on Cityscapes as its official evaluator scores them (package cityscapesscripts): another matching and another curve than COCO's."""

import copy
import io
import os
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from depthbox.data.cityscapes import instance_maps
from depthbox.data.decode import rasterise
from depthbox.data.schema import CocoData, Detections
from depthbox.evaluate.instance import Scores

__all__ = ["cityscapes_scores"]


def cityscapes_scores(data: CocoData, detections: Sequence[Detections]) -> Scores:
    """`cityscapes_ap` (mean over IoU 0.50:0.05:0.95 and the classes that occur), `cityscapes_ap50` and `cityscapes_ap/<class>`, in 0..1.

    Objects below 100 pixels do not count, and what lies mostly on void or on a group is no mistake. Nothing but a note where the package or masks
    are missing; nothing at all where `data` is not of Cityscapes' layout. One process scores everything: a minute for some ten thousand detections.
    """
    if not os.path.isdir(data.source):
        return Scores(values={}, note="")
    if any(one.masks is None and len(one.scores) for one in detections):
        return Scores(values={}, note="cityscapes_ap was not scored: the detections are boxes only")
    try:
        official = _official()
    except ImportError as error:
        return Scores(
            values={},
            note=f"cityscapes_ap was not scored: {error.name} is not installed (pip install 'depthbox[cityscapes]')",
        )
    settings = copy.copy(official.args)
    settings.quiet = True
    official.setInstanceLabels(settings)
    found = {one.image_id: one for one in detections}
    matches = {
        str(file): _matched(official, settings, str(file), found.get(number), data)
        for number, file in enumerate(instance_maps(data.source))
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a class that does not occur
        averages = official.computeAverages(official.evaluateMatches(matches, settings), settings)
    classes = {f"cityscapes_ap/{name}": float(one["ap"]) for name, one in averages["classes"].items()}
    overall = {"cityscapes_ap": float(averages["allAp"]), "cityscapes_ap50": float(averages["allAp50%"])}
    return Scores(values=overall | classes, note="")


def _matched(
    official: ModuleType, settings: Any, file: str, found: Detections | None, data: CocoData
) -> dict[str, object]:
    """The objects of one photo and its detections, with the pixels they share."""
    (every,) = official.instances2dict([file]).values()
    predictions: dict[io.BytesIO, dict[str, float]] = {}
    if found is not None:
        for label, confidence, mask in zip(
            found.labels.tolist(), found.scores.tolist(), found.masks or (), strict=True
        ):
            predictions[_as_file(mask)] = {"labelID": data.category_ids[label], "conf": confidence}
    truth, assigned = official.assignGt2Preds(
        official.filterGtInstances(every, settings), official.readGTImage(file, settings), predictions, settings
    )
    return {"groundTruth": truth, "prediction": assigned}


def _as_file(mask: dict) -> io.BytesIO:
    """The evaluator opens a file of each mask."""
    file = io.BytesIO()
    pixels = rasterise(mask, mask["size"]).view(np.uint8) * 255
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file


def _official() -> ModuleType:
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official

    if not hasattr(np, "in1d"):
        official.np = _NumpyWithIn1d()
    return official


class _NumpyWithIn1d:
    """numpy 2.4 has dropped `in1d`, which the evaluator (2.3.0) calls."""

    in1d = staticmethod(np.isin)

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)

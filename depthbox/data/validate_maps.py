"""What is wrong with the depth maps of a data set, in words: every training photo needs one that can be used."""

from collections.abc import Sequence

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.schema import ImageRecord
from depthbox.depth.estimator import checked
from depthbox.depth.maps import MapsDepth

__all__ = ["validate_maps"]

SHOWN = 20


def validate_maps(records: Sequence[ImageRecord], maps: MapsDepth) -> list[str]:
    """One sentence a finding: photos without a map, or with a damaged or constant one, or of another aspect or unit.

    Where all can be used: two photos that share a map, and a sign or a zero that looks wrong over several of them.
    """
    faults = [fault for record in records if (fault := _fault(record, maps))]
    if faults:
        return faults[:SHOWN] + ([f"and {len(faults) - SHOWN} more photos like these"] if len(faults) > SHOWN else [])
    paths = [record.path for record in records]
    try:
        maps.require(paths)
    except InputError as error:
        return [str(error)]
    return list(maps.findings(paths))


def _fault(record: ImageRecord, maps: MapsDepth) -> str | None:
    # Only its size is asked of the photo, so none is decoded.
    photo = np.broadcast_to(np.uint8(0), (*record.size_hw, 3))
    try:
        checked(maps.disparity([photo], [record.path])[0], photo, path=record.path, estimator=maps.name)
    except InputError as error:
        return f"image {record.image_id}: {error}"
    return None

"""The picture a run on video ends with: photo, predicted disparity, and true disparity where it was measured."""

from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage, read_image
from depthbox.data.video import FrameRecord, VideoData
from depthbox.depth.estimator import normalised
from depthbox.depth.maps import read_inverse
from depthbox.depth.quality import preview
from depthbox.depth.trained import TrainedDepth
from depthbox.evaluate.depth import meaning_of_zero
from depthbox.experiment import VideoDataConfig
from depthbox.train.job import Job

__all__ = ["picture_of_video"]

SHOWN = 4
WIDTH = 320


def picture_of_video(job: Job) -> Path | None:
    """Write `out/predictions.png`, frames spread over the validation set; None where none can be read."""
    assert isinstance(job.val, VideoData)
    data, records = cast(VideoDataConfig, job.experiment.data), job.val.records
    zero = meaning_of_zero(records, kind=data.depth_kind, zero=data.depth_zero)
    network = TrainedDepth(job.out)
    chosen = records[:: max(1, len(records) // SHOWN)][:SHOWN]
    rows = [row for record in chosen if (row := _row(network, record, data.depth_kind, zero)) is not None]
    if not rows:
        return None
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    file = job.out / "predictions.png"
    Image.fromarray(np.concatenate(padded)).save(file)
    return file


def _row(network: TrainedDepth, record: FrameRecord, kind: str, zero: str) -> np.ndarray | None:
    try:
        image = read_image(record.path, short_side=None, max_side=None).image
    except BadImage:
        return None
    small = np.array(Image.fromarray(image).resize((WIDTH, max(1, round(image.shape[0] * WIDTH / image.shape[1])))))
    row = preview(small, network.disparity([image], [record.path])[0])
    if not record.depth:
        return row
    try:
        truth = normalised(read_inverse(Path(record.depth), kind=kind, zero=zero))
    except InputError:  # the note of the scores says it
        return row
    return np.concatenate([row, preview(small, truth)[:, WIDTH:]], axis=1)

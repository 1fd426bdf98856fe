"""What the page shows of a finished cell besides its scores: thinned curves and a strip of predictions, small files beside the results.

They are taken from the run folder and the tracking store where the cell ran, so that the page can be made anywhere.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from depthbox.data.schema import CocoData, Detections
from depthbox.experiment import Experiment, SemanticDataConfig

__all__ = ["Trace", "keep_trace", "read_trace"]

log = logging.getLogger("depthbox")

POINTS, DIGITS = 40, 4
PHOTOS, PANEL_HEIGHT = 5, 112
LARGEST = (720, 900)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """`strip` shows predictions, `truth` the same photos' labels; None where no picture could be made."""

    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    strip: Path | None = None
    truth: Path | None = None


def keep_trace(digest: str, folder: Path, *, experiment: Experiment, run_id: str, pictures: bool) -> None:
    """Write `folder/<digest>.json`, and with `pictures` a strip `.jpg` and once for all cells the truth; what the run has not left is left out."""
    from depthbox.tracking.read import curves_of

    curves = curves_of(experiment.tracking.uri or "none", run_id)
    kept = {name: _thinned(points) for name, points in curves.items() if _is_kept(name) and len(points) > 1}
    folder.mkdir(parents=True, exist_ok=True)
    truth = _strips(digest, folder, experiment) if pictures else ""
    part = folder / f".{digest}.{os.getpid()}"
    part.write_text(json.dumps({"curves": kept, "truth": truth}, separators=(",", ":")) + "\n")
    part.replace(folder / f"{digest}.json")


def _is_kept(name: str) -> bool:
    """Losses and scores, not those of single classes."""
    return name == "mask_box_ratio" or (name.startswith(("loss/", "val/")) and name.count("/") == 1)


def read_trace(digest: str, folder: Path) -> Trace | None:
    """None where nothing was kept."""
    file = folder / f"{digest}.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    curves = {name: [(int(step), float(value)) for step, value in points] for name, points in found["curves"].items()}
    return Trace(curves=curves, strip=_there(folder / f"{digest}.jpg"), truth=_there(folder / (found["truth"] or "-")))


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most 40 of them, evenly, the last always."""
    gap = (len(points) - 1) / (min(len(points), POINTS) - 1)
    chosen = [points[round(i * gap)] for i in range(min(len(points), POINTS))]
    return [(step, float(f"{value:.{DIGITS}g}")) for step, value in chosen]


def _strips(digest: str, folder: Path, experiment: Experiment) -> str:
    """The name of the truth's picture, "" where the photos or what was found in them are not here; a run on classes of pixels has drawn both."""
    if isinstance(experiment.data, SemanticDataConfig):
        _copied(Path(experiment.out) / "predictions.png", folder / f"{digest}.jpg")
        return ""
    from depthbox.core.errors import InputError, UsageError
    from depthbox.evaluate.figures import Row, image_strip
    from depthbox.train.inputs import data_root, read_split
    from depthbox.train.pictures import read_detections

    detections = Path(experiment.out) / "detections.json"
    try:
        data = read_split(data_root(experiment.data.root), experiment.data.val, "data.val", masks=True)
        found = read_detections(detections, {c: i for i, c in enumerate(data.category_ids)})
        rows = [Row(**row) for row in _photos(data, found)]
    except (InputError, UsageError, OSError) as error:
        log.warning("no pictures of cell %s: %s", digest, error)
        return ""
    by_class, truth = len(data.class_names) > 1, folder / f"truth-{data.digest[:12]}.jpg"
    image_strip(rows, folder / f"{digest}.jpg", column="prediction", by_class=by_class, panel_height=PANEL_HEIGHT)
    made = truth.is_file() or image_strip(rows, truth, column="truth", by_class=by_class, panel_height=PANEL_HEIGHT)
    return truth.name if made else ""


def _copied(picture: Path, strip: Path) -> None:
    """As a small photo; nothing where there is no picture."""
    from PIL import Image

    if picture.is_file():
        with Image.open(picture) as drawn:
            small = drawn.convert("RGB")
            small.thumbnail(LARGEST)
            small.save(strip, quality=80)


def _photos(data: CocoData, found: Mapping[int, Detections]) -> list[dict]:
    """Photos spread evenly over the validation set: the same ones for every cell."""
    from depthbox.data.decode import BadImage, read_image

    rows, count = [], len(data.records)
    for record in (data.records[i * count // min(PHOTOS, count)] for i in range(min(PHOTOS, count))):
        try:
            photo = read_image(record.path, short_side=None, max_side=None, expect_hw=record.size_hw).image
        except BadImage:
            continue
        rows.append(
            {"photo": photo, "truth": record, "prediction": found.get(record.image_id, _nothing(record.image_id))}
        )
    return rows


def _nothing(image_id: int) -> Detections:
    import numpy as np

    return Detections(
        image_id=image_id, boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int), masks=()
    )


def _there(file: Path) -> Path | None:
    return file if file.is_file() else None

"""Photos with a class for every pixel -> checked records. No torch: everything that can be wrong is said here."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError
from depthbox.data.bare import bare_records
from depthbox.data.decode import BadImage
from depthbox.data.intrinsics import Intrinsics
from depthbox.data.label_files import paired_files
from depthbox.data.label_map import read_labels
from depthbox.data.label_table import LabelTable
from depthbox.data.quarantine import Quarantine, share_error

__all__ = ["SemanticData", "SemanticRecord", "check_labels", "digest_of", "read_semantic", "with_source"]

LOOKED_AT = 256
"""Label maps that are read before a run starts; the others are checked when they come."""

_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticRecord:
    """One photo, and what is known of it."""

    image_id: int
    """Its place among the photos of its data set."""
    path: str
    size_hw: tuple[int, int]
    table: LabelTable
    """What its label map means."""
    label_path: str = ""
    """Empty: no label map."""
    supervision: str = ""
    """What a run may learn from: "labels", "none", or "source", the labels of another domain."""
    before: str = ""
    after: str = ""
    """Its neighbours in a video; empty where it has none."""
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticData:
    """One set of photos, checked; or with the source domain's behind them."""

    source: str
    records: tuple[SemanticRecord, ...]
    class_names: tuple[str, ...]
    table: LabelTable
    digest: str
    findings: tuple[str, ...] = ()


def read_semantic(
    root: Path, *, images: str, labels: str, table: LabelTable, name: str = "data.train", needs_all: bool = False
) -> SemanticData:
    """The photos of `images` with their label maps of `labels` (folders or patterns below `root`), in natural order.

    A photo without a label map stays, as an unlabelled one, unless `needs_all`. Headers alone are read of photos; `check_labels` reads label maps.
    Raises `UsageError` and `InputError` in one line.
    """
    rows, lonely = paired_files(root, images=images, labels=labels, name=name)
    bare = [key for key, _, label in rows if not label]
    if needs_all and bare:
        cause = f"{len(bare)} of {len(rows)} photos have no label map, such as '{bare[0]}'"
        raise InputError(
            root / (labels or images), "", cause, f"give {name}.images= and {name}.labels= that belong together"
        )
    seen = bare_records([path for _, path, _ in rows], known=(), first_id=0)
    records = tuple(
        SemanticRecord(image_id=one.image_id, path=one.path, size_hw=one.size_hw, table=table, label_path=label)
        for one, (_, _, label) in zip(seen, rows, strict=True)
    )
    findings = [f"{root / labels}: {lonely} label maps have no photo"] if lonely else []
    return SemanticData(
        source=str(root / images),
        records=records,
        class_names=table.class_names,
        table=table,
        digest=digest_of(records),
        findings=tuple(findings),
    )


def check_labels(data: SemanticData, *, allowed_share: float = 0.0, most: int = LOOKED_AT) -> SemanticData:
    """Read up to `most` label maps, spread evenly. Raises `InputError` for ids outside of the table, and for more than `allowed_share` of
    unreadable ones; warns (`findings`) of classes that none of them shows."""
    labelled = [record for record in data.records if record.label_path and record.supervision != "none"]
    if not labelled:
        return data
    looked = [labelled[i] for i in np.unique(np.linspace(0, len(labelled) - 1, min(most, len(labelled))).astype(int))]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_looked_at, looked))
    bad = [one for one in found if isinstance(one, Quarantine)]
    if error := share_error(len(looked), bad, allowed_share=allowed_share):
        raise error
    present = np.zeros(256, bool)
    for one in found:
        if isinstance(one, np.ndarray):
            present[one] = True
    classes = list(enumerate(data.class_names))
    if not any(present[number] for number, _ in classes):
        cause = f"none of {len(looked)} label maps has a pixel of a class of the table {data.table.name}"
        raise InputError(looked[0].label_path, "", cause, "give the data.table= of these files")
    missing = [name for number, name in classes if not present[number]]
    more = [f"{data.source}: no pixel of {', '.join(missing)} in {len(looked)} label maps"] if missing else []
    return replace(data, findings=(*data.findings, *(f"{one.path}: {one.reason}" for one in bad), *more))


def with_source(target: SemanticData, source: SemanticData) -> SemanticData:
    """`target` and behind it the labelled images of another domain; both have the same classes by now."""
    assert target.class_names == source.class_names, "label_table.source_table makes them alike"
    first = 1 + max(record.image_id for record in target.records)
    theirs = [
        replace(record, image_id=first + number, supervision="source")
        for number, record in enumerate(r for r in source.records if r.label_path)
    ]
    records = (*target.records, *theirs)
    findings = (*target.findings, *source.findings)
    return replace(target, records=records, digest=digest_of(records), findings=findings)


def digest_of(records: Sequence[SemanticRecord]) -> str:
    """Of names, sizes in bytes, words and the meaning of labels: what another data set would not share."""
    total = hashlib.sha256(b"depthbox-semantic-1")
    for table in {id(record.table): record.table for record in records}.values():
        said = [table.class_names, sorted(table.ids.items()), sorted(table.colours.items())]
        total.update(json.dumps(said).encode())
    for record in records:
        files = (record.path, record.label_path, record.before, record.after)
        row = [[*Path(file).parts[-2:], os.path.getsize(file)] for file in files if file]
        camera = record.intrinsics.values if record.intrinsics else ()
        total.update(json.dumps([record.image_id, record.supervision, row, camera]).encode())
    return total.hexdigest()


def _looked_at(record: SemanticRecord) -> np.ndarray | Quarantine:
    """The classes of a label map."""
    try:
        expected = None if record.size_hw == (1, 1) else record.size_hw
        return np.unique(read_labels(record.label_path, record.table, expect_hw=expected))
    except BadImage as error:
        return Quarantine(path=error.path, reason=error.reason)

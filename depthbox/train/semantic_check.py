"""What is wrong with semantic data, in words, every label map looked at: what `depthbox data validate` says of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError, UsageError
from depthbox.core.shapes import IGNORE
from depthbox.data.decode import BadImage, read_image
from depthbox.data.label_map import read_labels
from depthbox.data.label_table import read_table, source_table
from depthbox.data.semantic import SemanticData, read_semantic
from depthbox.data.splits import named_images
from depthbox.data.validate import shared_photos
from depthbox.experiment import SemanticDataConfig

__all__ = ["class_shares", "read_sets", "validate_semantic"]


def read_sets(data: SemanticDataConfig, root: Path) -> tuple[dict[str, SemanticData], list[str]]:
    """train, val and source as far as they are given and can be read, and why the rest cannot."""
    sets: dict[str, SemanticData] = {}
    faults: list[str] = []
    table = read_table(data.table, root)
    theirs = read_table(data.source.table or data.table, root)
    if data.source.images:
        faults += _said(lambda: source_table(theirs, table, shared=data.classes == "shared"))
    for name, split, its in (("train", data.train, table), ("val", data.val, table), ("source", data.source, theirs)):
        if split.images or split.labels:
            try:
                sets[name] = read_semantic(
                    root,
                    images=split.images,
                    labels=split.labels,
                    table=its,
                    name=f"data.{name}",
                    needs_all=name != "train",
                )
            except InputError as error:
                faults.append(str(error))
    if "train" in sets and data.train.labelled:
        faults += _said(lambda: named_images(data.train.labelled, root, sets["train"], names_first=True))
    if not sets and not faults:
        raise UsageError("which data? data.table= with data.train.images= and data.train.labels=, or those of data.val")
    return sets, faults


def validate_semantic(sets: dict[str, SemanticData]) -> list[str]:
    """A line a finding: photos and label maps that cannot be used, ids that no table knows, photos of train that val scores, classes nobody shows."""
    findings = [finding for data in sets.values() for finding in (*data.findings, *_of_files(data))]
    if "train" in sets and "val" in sets:
        findings += shared_photos(sets["train"], sets["val"])
    for name, data in sets.items():
        shares = class_shares(data)
        missing = [one for one, share in shares.items() if share == 0]
        findings += [f"{data.source}: no pixel of {', '.join(missing)} in data.{name}"] if missing and shares else []
    return findings


def class_shares(data: SemanticData) -> dict[str, float]:
    """Class -> its share of the labelled pixels, over all label maps that can be read."""
    counts: Counter[int] = Counter()
    for record in data.records:
        if record.label_path:
            try:
                values, often = np.unique(read_labels(record.label_path, record.table), return_counts=True)
            except (BadImage, InputError):
                continue
            counts.update(dict(zip(values.tolist(), often.tolist(), strict=True)))
    total = sum(count for value, count in counts.items() if value != IGNORE)
    return {name: counts[label] / total for label, name in enumerate(data.class_names)} if total else {}


def _of_files(data: SemanticData) -> Iterator[str]:
    for record in data.records:
        try:
            photo = read_image(record.path, short_side=32, max_side=None)
            if record.label_path:
                read_labels(record.label_path, record.table, expect_hw=photo.size_hw)
        except (BadImage, InputError) as error:
            yield str(error)
    lost = sum(not record.label_path for record in data.records)
    if lost == len(data.records):
        yield f"{os.fspath(data.source)}: no photo has a label map"


def _said(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except InputError as error:
        return [str(error)]
    return []

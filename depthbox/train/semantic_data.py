"""An experiment's semantic data -> records with their words, the plan of its steps, and the validation set. What can be wrong is found here."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError, UsageError, few
from depthbox.data.label_table import LabelTable, read_table, source_table
from depthbox.data.mixture import WORDS, MixedPlan, Part, counts_a_step
from depthbox.data.pairing import GeometryPlan
from depthbox.data.plan import Plan
from depthbox.data.semantic import SemanticData, check_labels, digest_of, read_semantic, with_source
from depthbox.data.semantic_video import with_neighbours
from depthbox.data.splits import named_images
from depthbox.data.validate import refuse_leak
from depthbox.experiment import Experiment, SemanticDataConfig

__all__ = ["SemanticSets", "semantic_sets", "validation_set"]

log = logging.getLogger("depthbox")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticSets:
    train: SemanticData
    """Target and source domain, every record with its word; only what a step can draw."""
    plan: MixedPlan
    val: SemanticData | None


def semantic_sets(experiment: Experiment, root: Path) -> SemanticSets:
    """Read and check everything. Raises `InputError` or `UsageError` in words."""
    data = experiment.data
    assert isinstance(data, SemanticDataConfig)
    counts = _counts(data, experiment.batch_size)
    _check_views(data)
    table, theirs = _tables(data, root)
    target = read_semantic(root, images=data.train.images, labels=data.train.labels, table=table)
    target = _worded(target, data, root)
    if data.gap:
        target = with_neighbours(target, root, gap=data.gap, frames=data.train.frames)
    train = check_labels(target, allowed_share=data.quarantine_share)
    if theirs is not None:
        train = with_source(train, _source(data, root, theirs))
    train = _without_undrawn(train, counts)
    val = _validation(data, root, table)
    if val is not None:
        refuse_leak(train, val)
    for finding in [*train.findings, *(val.findings if val else ())]:
        log.warning("%s", finding)
    plan = _plan(train, counts, seed=experiment.seed, pairing=data.pairing)
    plan.share(0, experiment.workers)
    said = (
        f"{part.plan.images} images {WORDS[part.word]}, {part.plan.batch_size} of them a step" for part in plan.parts
    )
    log.info("%s", "; ".join(said))
    return SemanticSets(train=train, plan=plan, val=val)


def validation_set(data: SemanticDataConfig, root: Path) -> SemanticData:
    """The photos of `data.val` with the classes of a run. Raises `InputError` or `UsageError` in words."""
    val = _validation(data, root, _tables(data, root)[0])
    if val is None:
        raise UsageError("data.val.images= and data.val.labels= are needed: photos and their label maps")
    return val


def _counts(data: SemanticDataConfig, batch_size: int) -> dict[str, int]:
    """Word -> images a step. Raises `UsageError` for a setting that has no effect."""
    shares = {"labelled_share": data.labelled_share, "source_share": data.source_share}
    labelled, source, none = counts_a_step(batch_size=batch_size, **shares)
    if bool(source) != bool(data.source.images):
        raise UsageError(
            "data.source.images= and data.source.labels= name the images of another domain and data.source_share says how many of a step are "
            "of them: give all, or none"
        )
    if not labelled and not source:
        raise UsageError("data.labelled_share=0 data.source_share=0: a step needs labelled images")
    if data.pairing == "geometry" and not source:
        raise UsageError("data.pairing=geometry pairs targets with images of data.source; there are none")
    if data.pairing == "geometry" and source == batch_size:
        raise UsageError("data.pairing=geometry: with data.source_share=1 there is no target to pair with")
    counts = {"labels": labelled, "none": none, "source": source}
    return {word: count for word, count in counts.items() if count}


def _check_views(data: SemanticDataConfig) -> None:
    views = data.views
    if views.short_side < 32 or views.crop < 0 or views.crop % 32:
        raise UsageError(
            f"data.views.short_side={views.short_side} data.views.crop={views.crop}: allowed are 32 and more, and multiples of 32 (0: no crop)"
        )
    if not 0 < views.scale[0] <= views.scale[1]:
        raise UsageError(f"data.views.scale={views.scale[0]:g},{views.scale[1]:g}: allowed is 0 < least <= most")
    if not 0 <= views.jitter < 1 or not 0 <= views.flip <= 1 or not 0 <= views.blur <= 1:
        raise UsageError("data.views: jitter from 0 to below 1, flip and blur from 0 to 1")
    if data.gap < 0:
        raise UsageError(f"data.gap={data.gap}: allowed are 1 and more (0: no neighbours)")
    if data.gap and views.crop > views.short_side * views.scale[0]:
        raise UsageError(
            f"data.views.crop={views.crop}: with data.gap a view is not padded; allowed is up to data.views.short_side x the least data.views.scale"
        )


def _tables(data: SemanticDataConfig, root: Path) -> tuple[LabelTable, LabelTable | None]:
    """Of the target, and of the source where there is one."""
    table = read_table(data.table, root)
    if not data.source.images:
        if data.classes == "shared":
            raise UsageError("data.classes=shared needs a source domain; give data.source.images=")
        return table, None
    theirs = read_table(data.source.table or data.table, root)
    theirs, table = source_table(theirs, table, shared=data.classes == "shared")
    return table, theirs


def _worded(target: SemanticData, data: SemanticDataConfig, root: Path) -> SemanticData:
    """The word of every photo. Raises `InputError` for one that is named as labelled and has no label map."""
    everyone = {record.image_id for record in target.records if record.label_path}
    labelled = (
        set(named_images(data.train.labelled, root, target, names_first=True)) if data.train.labelled else everyone
    )
    if bare := [record for record in target.records if record.image_id in labelled - everyone]:
        cause = f"names {len(bare)} photos without a label map: {few([Path(r.path).name for r in bare])}"
        raise InputError(data.train.labelled, "", cause, "label them, or take them off the list")
    words = {number: "labels" for number in labelled}
    records = tuple(replace(record, supervision=words.get(record.image_id, "none")) for record in target.records)
    return replace(target, records=records, digest=digest_of(records))


def _source(data: SemanticDataConfig, root: Path, table: LabelTable) -> SemanticData:
    source = data.source
    found = read_semantic(
        root, images=source.images, labels=source.labels, table=table, name="data.source", needs_all=True
    )
    return check_labels(found, allowed_share=data.quarantine_share)


def _validation(data: SemanticDataConfig, root: Path, table: LabelTable) -> SemanticData | None:
    if not data.val.images:
        return None
    val = read_semantic(
        root, images=data.val.images, labels=data.val.labels, table=table, name="data.val", needs_all=True
    )
    return check_labels(val)


def _without_undrawn(data: SemanticData, counts: dict[str, int]) -> SemanticData:
    """Images that no step draws are no part of the run; the digest tells what is."""
    records = tuple(record for record in data.records if counts.get(record.supervision))
    digest = hashlib.sha256(digest_of(records).encode())
    return replace(data, records=records, digest=digest.hexdigest())


def _plan(data: SemanticData, counts: dict[str, int], *, seed: int, pairing: str) -> MixedPlan:
    parts = []
    for word, count in counts.items():
        members = np.array([place for place, record in enumerate(data.records) if record.supervision == word], np.int64)
        if not len(members):
            cause = f"there are no images {WORDS[word]}, and a step needs {count}"
            raise InputError(data.source, "", cause, "change data.labelled_share or data.source_share")
        aspects = tuple(data.records[place].size_hw[0] / data.records[place].size_hw[1] for place in members)
        plan = Plan(images=len(members), batch_size=count, seed=seed, aspects=aspects, part=f" {word}")
        parts.append(Part(word=word, members=members, plan=plan))
    return (GeometryPlan if pairing == "geometry" else MixedPlan)(parts=tuple(parts), seed=seed)

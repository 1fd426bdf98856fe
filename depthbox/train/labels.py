"""Which training images have masks, boxes alone or nothing, and how many of each a step holds: an experiment's data -> records and plan."""

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError, UsageError, few
from depthbox.data.bare import bare_records
from depthbox.data.mixture import WORDS, MixedPlan, Part, counts_a_step
from depthbox.data.plan import Plan
from depthbox.data.schema import CocoData, ImageRecord
from depthbox.data.splits import named_images
from depthbox.experiment import DataConfig, Experiment
from depthbox.train.inputs import files_of, read_split

__all__ = ["sees_masks", "training_data", "with_unlabelled"]

log = logging.getLogger("depthbox")


def training_data(experiment: Experiment, root: Path) -> tuple[CocoData, Plan | MixedPlan]:
    """The records a run can draw, each with its word where there are several, and the plan of its steps. Raises `InputError`, `UsageError` in words."""
    data = read_split(root, experiment.data.train, "data.train", masks=sees_masks(experiment))
    counts = _counts(experiment)
    if _is_mixed(experiment):
        data = _without_undrawn(_worded(data, experiment, root), counts)
        _check_labels(data)
    elif experiment.method.needs_masks and not data.has_masks:
        cause, next_step = (
            "this method learns from masks, and not every object has one",
            "train box_depth, which needs boxes only",
        )
        raise InputError(data.source, "", cause, next_step)
    if not any((~record.crowd).any() for record in data.records if record.supervision != "none"):
        raise InputError(data.source, "", "no image has a labelled object outside crowds", "give at least one box")
    plan = _plan(data, counts, experiment) if _is_mixed(experiment) else _plain(data, experiment)
    plan.share(0, experiment.workers)
    if isinstance(plan, MixedPlan):
        log.info(
            "%s",
            "; ".join(
                f"{part.plan.images} images {WORDS[part.word]}, {part.plan.batch_size} of them a step"
                for part in plan.parts
            ),
        )
    return data, plan


def sees_masks(experiment: Experiment) -> bool:
    """Whether any image of the run may carry masks."""
    return experiment.method.needs_masks or _labelled_word(experiment) == "masks"


def _labelled_word(experiment: Experiment) -> str:
    """What a labelled image has: masks, where others are said to have boxes alone and the method can use both."""
    learns = experiment.method.learns_from
    return "masks" if _images(experiment).train.boxed and "masks" in learns else learns[0]


def _images(experiment: Experiment) -> DataConfig:
    """What the run learns from; no video."""
    assert isinstance(experiment.data, DataConfig)
    return experiment.data


def _is_mixed(experiment: Experiment) -> bool:
    data = _images(experiment)
    return bool(data.train.labelled or data.train.boxed or data.unlabelled.images)


def _counts(experiment: Experiment) -> dict[str, int]:
    """Word -> images a step; the first word is that of a labelled image. Raises `UsageError` for a setting without effect, or that the method cannot use."""
    data, learns = _images(experiment), experiment.method.learns_from
    labelled, boxed, none = counts_a_step(
        batch_size=experiment.batch_size, labelled_share=data.labelled_share, boxed_share=data.boxed_share
    )
    if bool(boxed) != bool(data.train.boxed):
        raise UsageError(
            "data.train.boxed=FILE names images and data.boxed_share says how many of a step are of them: give both, or neither"
        )
    if data.unlabelled.images and not none:
        raise UsageError(
            "data.unlabelled.images has no effect while data.labelled_share and data.boxed_share fill every step"
        )
    if none and not (data.unlabelled.images or data.train.labelled):
        raise UsageError(
            f"data.labelled_share={data.labelled_share:g} leaves {none} images of a step without labels: name the labelled ones by "
            "data.train.labelled=FILE[:KEY], or give a folder of others by data.unlabelled.images=DIR, or set data.labelled_share=1"
        )
    if not labelled and not boxed:
        raise UsageError("data.labelled_share=0: a step needs labelled images")
    if boxed and not {"masks", "boxes"} <= set(learns):
        raise UsageError(
            f"data.train.boxed: this method learns from {' and '.join(learns)}, not from boxes beside them"
        )
    if none and "none" not in learns:
        raise UsageError(
            f"this method learns from labelled images alone ({' and '.join(learns)}): set data.labelled_share=1"
        )
    return (
        {_labelled_word(experiment): labelled} | ({"boxes": boxed} if boxed else {}) | ({"none": none} if none else {})
    )


def _worded(data: CocoData, experiment: Experiment, root: Path) -> CocoData:
    """The word of every image; photos of `data.unlabelled.images` that the annotations do not list come behind."""
    asked = _images(experiment)
    boxed = set(named_images(asked.train.boxed, root, data)) if asked.train.boxed else set()
    every = {record.image_id for record in data.records}
    labelled = set(named_images(asked.train.labelled, root, data)) if asked.train.labelled else every - boxed
    if both := sorted(labelled & boxed):
        raise InputError(
            asked.train.boxed,
            "",
            f"{len(both)} images are in data.train.labelled too: {few(both)}",
            "name an image in one of the two",
        )
    if labelled and len(labelled) < experiment.workers:
        cause = f"names {len(labelled)} labelled images for workers={experiment.workers}"
        raise InputError(
            asked.train.labelled or data.source, "", cause, f"label more of them, or take workers={len(labelled)}"
        )
    words = dict.fromkeys(labelled, _labelled_word(experiment)) | dict.fromkeys(boxed, "boxes")
    records = tuple(replace(record, supervision=words.get(record.image_id, "none")) for record in data.records)
    return with_unlabelled(replace(data, records=records), asked, root)


def with_unlabelled(data: CocoData, asked: DataConfig, root: Path) -> CocoData:
    """`data` and behind it the photos of `data.unlabelled.images` that it does not list."""
    if not asked.unlabelled.images:
        return data
    photos = [
        os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        for path in files_of(asked.unlabelled.images, root, name="data.unlabelled.images")
    ]
    known = {record.path for record in data.records}
    first_id = max(record.image_id for record in data.records) + 1
    found = bare_records(photos, known=known, first_id=first_id)
    if not found and all(record.supervision != "none" for record in data.records):
        cause = f"all of its {len(photos)} photos are labelled in {os.path.basename(data.source)}"
        next_step = "give a folder of other photos, or name the labelled ones by data.train.labelled"
        raise InputError(asked.unlabelled.images, "", cause, next_step)
    return replace(data, records=data.records + found)


def _without_undrawn(data: CocoData, counts: dict[str, int]) -> CocoData:
    """Images that no step draws are no part of the run; the digest tells what is."""
    records = tuple(record for record in data.records if counts.get(record.supervision))
    digest = hashlib.sha256(data.digest.encode())
    for record in records:
        digest.update(repr((record.image_id, os.path.basename(record.path), record.supervision)).encode())
    return replace(data, records=records, digest=digest.hexdigest())


def _check_labels(data: CocoData) -> None:
    for record in (one for one in data.records if one.supervision == "masks"):
        rows = zip(record.annotation_ids.tolist(), record.segmentations, record.crowd.tolist(), strict=True)
        bare = [number for number, mask, crowd in rows if mask is None and not crowd]
        if bare:
            cause = f"is labelled, and {len(bare)} of its objects have no mask: annotations {few(bare)}"
            raise InputError(
                data.source, f"image {record.image_id}", cause, "draw them, or name it in data.train.boxed"
            )
    seen = {int(label) for r in data.records if r.supervision != "none" for label in r.labels[~r.crowd]}
    unseen = [name for label, name in enumerate(data.class_names) if label not in seen]
    if unseen and seen:
        log.warning("%s: no labelled image has an object of these classes: %s", data.source, few(unseen))


def _plain(data: CocoData, experiment: Experiment) -> Plan:
    aspects = tuple(map(_aspect, data.records))
    return Plan(images=len(aspects), batch_size=experiment.batch_size, seed=experiment.seed, aspects=aspects)


def _plan(data: CocoData, counts: dict[str, int], experiment: Experiment) -> MixedPlan:
    parts = []
    for word, count in counts.items():
        members = [place for place, record in enumerate(data.records) if record.supervision == word]
        if count and not members:
            cause = f"there are no images {WORDS[word]}, and a step needs {count}"
            raise InputError(data.source, "", cause, "change data.labelled_share or data.boxed_share")
        if count:
            aspects = tuple(_aspect(data.records[place]) for place in members)
            plan = Plan(images=len(members), batch_size=count, seed=experiment.seed, aspects=aspects, part=f" {word}")
            parts.append(Part(word=word, members=np.array(members), plan=plan))
    return MixedPlan(parts=tuple(parts), seed=experiment.seed)


def _aspect(record: ImageRecord) -> float:
    return record.size_hw[0] / record.size_hw[1]

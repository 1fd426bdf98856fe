"""What is wrong with a data set, in words, beyond what `read_coco` refuses outright."""

import hashlib
import os
from collections import Counter, defaultdict

from depthbox.core.errors import InputError, few
from depthbox.data.decode import BadImage, decode_record
from depthbox.data.schema import CocoData, ImageRecord
from depthbox.data.semantic import SemanticData

__all__ = ["refuse_leak", "shared_photos", "summary", "validate_data"]

AnyData = CocoData | SemanticData


def validate_data(train: CocoData, val: CocoData | None, *, decode: bool = True, leaks: bool = True) -> list[str]:
    """One sentence a finding, none if all is well.

    Looks for photos that are in both sets (by path or by bytes, B12), class maps that differ (B13), a set without any
    object, two classes of one name, a photo listed twice, masks that some objects lack, and, unless `decode` is False,
    photos that cannot be decoded or have another size than stated (then every file is read). `leaks=False`: not for photos in both sets.
    """
    findings = [finding for data in (train, val) if data is not None for finding in _own_findings(data, decode)]
    if val is not None:
        findings += _class_maps(train, val) + (shared_photos(train, val) if leaks else [])
    return findings


def refuse_leak(train: AnyData, val: AnyData) -> None:
    """Raise InputError where a photo to be trained on, with labels or without, is also one to be scored on (B12)."""
    if pairs := _pairs(train, val):
        cause = f"{len(pairs)} of its photos are also trained on: {few(pairs)}"
        raise InputError(val.source, "", cause, "remove them from one of the two sets")


def summary(data: CocoData) -> str:
    """Images, objects, sizes, masks and objects per class as a few lines of text."""
    objects = [int(label) for record in data.records for label in record.labels[~record.crowd]]
    crowds = sum(int(record.crowd.sum()) for record in data.records)
    sizes = Counter(record.size_hw for record in data.records)
    (common_h, common_w), often = sizes.most_common(1)[0]
    low, high = min(sizes, key=lambda hw: hw[0] * hw[1]), max(sizes, key=lambda hw: hw[0] * hw[1])
    counts = Counter(objects)
    width = max(len(name) for name in data.class_names)
    return "\n".join([
        f"{data.source}",
        f"images   {len(data.records)} ({sum(not len(record.labels) for record in data.records)} without objects)",
        f"objects  {len(objects)}" + (f" and {crowds} crowds" if crowds else ""),
        f"sizes    {low[1]}x{low[0]} to {high[1]}x{high[0]}, most often {common_w}x{common_h} ({often})",
        f"masks    {'yes' if data.has_masks else 'no'}",
        f"classes  {len(data.class_names)}",
        *(f"  {name:<{width}}  {counts[label]}" for label, name in enumerate(data.class_names)),
    ])  # fmt: skip


def _own_findings(data: CocoData, decode: bool) -> list[str]:
    findings = []
    if all(record.crowd.all() for record in data.records):
        findings.append(f"{data.source}: no image has an object; there is nothing to learn or to score")
    if twice := [name for name, times in Counter(data.class_names).items() if times > 1]:
        findings.append(f"{data.source}: two classes have the same name: {few(twice)}")
    for path, ids in _by_path(data).items():
        if len(ids) > 1:
            findings.append(f"{data.source}: images {few(ids)} are the same photo {path}; give it one image id")
    bare = [number for record in data.records for number in _without_mask(record)]
    if bare and any(mask is not None for record in data.records for mask in record.segmentations):
        findings.append(f"{data.source}: {len(bare)} annotations have no mask while others have one: {few(bare)}")
    return findings + ([bad for bad in map(_undecodable, data.records) if bad] if decode else [])


def _class_maps(train: CocoData, val: CocoData) -> list[str]:
    """B13. Labels are positions in the class list, so a class that is missing or moved changes what a label means."""
    ours, theirs = (dict(zip(data.category_ids, data.class_names, strict=True)) for data in (train, val))
    if ours == theirs:
        return []
    only_train = [name for name in ours.values() if name not in theirs.values()]
    only_val = [name for name in theirs.values() if name not in ours.values()]
    moved = [name for number, name in ours.items() if name in theirs.values() and theirs.get(number) != name]
    parts = {"only in train": only_train, "only in val": only_val, "under another id": moved}
    said = "; ".join(f"{what}: {few(names)}" for what, names in parts.items() if names)
    return [f"the classes of {train.source} and {val.source} differ ({said}); use one category list for both"]


def _pairs(train: AnyData, val: AnyData) -> list[str]:
    """B12, by path and by bytes; only files of equal size are read."""
    ours, theirs = set(_by_path(train)), set(_by_path(val))
    return sorted(ours & theirs) + [f"{theirs} = {ours}" for theirs, ours in _copies(theirs - ours, ours - theirs)]


def shared_photos(train: AnyData, val: AnyData) -> list[str]:
    """A line where photos of both are the same, by path or by bytes."""
    pairs = _pairs(train, val)
    if not pairs:
        return []
    what = f"{len(pairs)} photos of {val.source} are also in {train.source}"
    return [f"{what}: {few(pairs)}; remove them from one of the two"]


def _copies(paths: set[str], others: set[str]) -> list[tuple[str, str]]:
    sizes, other_sizes = ({path: _size(path) for path in sorted(some)} for some in (paths, others))
    common = set(sizes.values()) & set(other_sizes.values()) - {None}
    originals = {_content(path): path for path, size in other_sizes.items() if size in common}
    found = ((path, originals.get(_content(path))) for path, size in sizes.items() if size in common)
    return [(path, original) for path, original in found if original]


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:  # unreadable: equal to nothing but itself
        return path


def _by_path(data: AnyData) -> dict[str, list[int]]:
    """Path -> the image ids that name it."""
    ids = defaultdict(list)
    for record in data.records:
        ids[record.path].append(record.image_id)
    return ids


def _without_mask(record: ImageRecord) -> list[int]:
    if record.supervision not in ("", "masks"):  # an image that is said to have less lacks nothing
        return []
    rows = zip(record.annotation_ids.tolist(), record.segmentations, record.crowd.tolist(), strict=True)
    return [number for number, mask, crowd in rows if mask is None and not crowd]


def _undecodable(record: ImageRecord) -> str | None:
    try:
        decode_record(record, short_side=64, max_side=256)
    except BadImage as bad:
        return f"image {record.image_id}: {bad}"
    return None

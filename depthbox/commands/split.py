"""`depthbox data split percent=5 seed=0 out=FILE`: which images of a data set are labelled, as text."""

from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.data_classes import is_semantic
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import UsageError, few
from depthbox.experiment import DataConfig, SemanticDataConfig, SemanticSplitConfig

__all__ = ["draw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitQuestion:
    """`percent` of the images of `data.train`, drawn by `seed`, go to the file `out`."""

    data: DataConfig = DataConfig()
    percent: float = 0.0
    seed: int = 0
    out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSplitQuestion:
    """The same of photos that have a label map."""

    data: SemanticDataConfig = SemanticDataConfig()
    percent: float = 0.0
    seed: int = 0
    out: str = ""


def draw(words: list[str], *, as_json: bool) -> int:
    """Draw, write and say how to use it. Raises `UsageError` where a setting is missing, `InputError` where data or file are not fit."""
    from depthbox.data.splits import drawn_images, write_split
    from depthbox.train.inputs import data_root, read_split

    overrides = parse_overrides(words)
    if is_semantic(overrides):
        return _draw_photos(vary(PhotoSplitQuestion(), overrides), as_json=as_json)
    asked = vary(SplitQuestion(), overrides)
    if not asked.percent or not asked.out:
        raise UsageError(
            "percent= and out= are needed: depthbox data split data.train.annotations=FILE ... percent=5 seed=0 out=FILE"
        )
    data = read_split(data_root(asked.data.root), asked.data.train, "data.train", masks=False)
    ids = drawn_images(data, percent=asked.percent, seed=asked.seed)
    file = Path(asked.out).expanduser().absolute()
    write_split(file, data, ids)
    drawn = set(ids)
    seen = {int(n) for r in data.records if r.image_id in drawn for n in r.labels[~r.crowd]}
    unseen = [name for label, name in enumerate(data.class_names) if label not in seen]
    people = for_people(as_json=as_json)
    print(
        f"{len(ids)} of {len(data.records)} images ({asked.percent:g} %, seed {asked.seed}): data.train.labelled={file}",
        file=people,
    )
    if unseen:
        print(f"without an object of {few(unseen)}", file=people)
    if as_json:
        end_with_json(
            {"out": str(file), "images": len(data.records), "labelled": len(ids), "ids": ids, "missing_classes": unseen}
        )
    return 0


def _draw_photos(asked: PhotoSplitQuestion, *, as_json: bool) -> int:
    from depthbox.data.splits import drawn_images, write_split
    from depthbox.train.inputs import data_root
    from depthbox.train.semantic_check import class_shares, read_sets

    if not asked.percent or not asked.out:
        raise UsageError("percent= and out= are needed, beside data.table=, data.train.images= and data.train.labels=")
    sets, faults = read_sets(replace(asked.data, val=SemanticSplitConfig()), data_root(asked.data.root))
    if "train" not in sets:
        raise UsageError(faults[0] if faults else "data.train.images= and data.train.labels= are needed")
    data = replace(sets["train"], records=tuple(r for r in sets["train"].records if r.label_path))
    ids = drawn_images(data, percent=asked.percent, seed=asked.seed)
    file = Path(asked.out).expanduser().absolute()
    write_split(file, data, ids)
    shares = class_shares(replace(data, records=tuple(r for r in data.records if r.image_id in ids)))
    unseen = [name for name, share in shares.items() if not share]
    people = for_people(as_json=as_json)
    print(f"{len(ids)} of {len(data.records)} photos ({asked.percent:g} %, seed {asked.seed}): data.train.labelled={file}", file=people)  # fmt: skip
    if unseen:
        print(f"without a pixel of {few(unseen)}", file=people)
    if as_json:
        facts = {"images": len(data.records), "labelled": len(ids), "ids": ids, "missing_classes": unseen}
        end_with_json({"out": str(file), **facts})
    return 0

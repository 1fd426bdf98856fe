"""`depthbox data split percent=5 seed=0 out=FILE`: which images of a data set are labelled, as text."""

from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.data_classes import is_semantic
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import UsageError, few
from depthbox.data.schema import CocoData
from depthbox.data.semantic import SemanticData
from depthbox.experiment import DataConfig, SemanticDataConfig, SemanticSplitConfig

__all__ = ["draw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitQuestion:
    """`percent` of the images of `data.train`, drawn by `seed`, go to the file `out`."""

    data: DataConfig | SemanticDataConfig = DataConfig()
    percent: float = 0.0
    seed: int = 0
    out: str = ""


def draw(words: list[str], *, as_json: bool) -> int:
    """Draw, write and say how to use it. Raises `UsageError` where a setting is missing, `InputError` where data or file are not fit."""
    from depthbox.data.splits import drawn_images, write_split

    overrides = parse_overrides(words)
    usual = SplitQuestion(data=SemanticDataConfig() if is_semantic(overrides) else DataConfig())
    asked = vary(usual, overrides)
    if not asked.percent or not asked.out:
        raise UsageError(
            "percent= and out= are needed beside data.train.*: depthbox data split data.train.annotations=FILE ... percent=5 seed=0 out=FILE"
        )
    data = _photos(asked.data) if isinstance(asked.data, SemanticDataConfig) else _annotated(asked.data)
    ids = drawn_images(data, percent=asked.percent, seed=asked.seed)
    file = Path(asked.out).expanduser().absolute()
    write_split(file, data, ids)
    unseen = _unseen(data, set(ids))
    people = for_people(as_json=as_json)
    print(
        f"{len(ids)} of {len(data.records)} images ({asked.percent:g} %, seed {asked.seed}): data.train.labelled={file}",
        file=people,
    )
    if unseen:
        what = "a pixel" if isinstance(data, SemanticData) else "an object"
        print(f"without {what} of {few(unseen)}", file=people)
    if as_json:
        facts = {"images": len(data.records), "labelled": len(ids), "ids": ids, "missing_classes": unseen}
        end_with_json({"out": str(file), **facts})
    return 0


def _annotated(data: DataConfig) -> CocoData:
    from depthbox.train.inputs import data_root, read_split

    return read_split(data_root(data.root), data.train, "data.train", masks=False)


def _photos(data: SemanticDataConfig) -> SemanticData:
    """Those with a label map."""
    from depthbox.train.inputs import data_root
    from depthbox.train.semantic_check import read_sets

    sets, faults = read_sets(replace(data, val=SemanticSplitConfig()), data_root(data.root))
    if "train" not in sets:
        raise UsageError(faults[0] if faults else "data.train.images= and data.train.labels= are needed")
    return replace(sets["train"], records=tuple(r for r in sets["train"].records if r.label_path))


def _unseen(data: CocoData | SemanticData, drawn: set[int]) -> list[str]:
    """Classes of which the drawn images have no object, or no pixel."""
    from depthbox.train.semantic_check import class_shares

    if isinstance(data, SemanticData):
        shares = class_shares(replace(data, records=tuple(r for r in data.records if r.image_id in drawn)))
        return [name for name, share in shares.items() if not share]
    seen = {int(n) for r in data.records if r.image_id in drawn for n in r.labels[~r.crowd]}
    return [name for label, name in enumerate(data.class_names) if label not in seen]

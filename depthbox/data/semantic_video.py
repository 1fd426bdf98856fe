"""Photos that are frames of a video -> the frames before and after them, and the camera, for methods that learn depth beside the classes."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from depthbox.core.errors import InputError, few
from depthbox.data.bare import THREADS
from depthbox.data.intrinsics import Intrinsics, read_intrinsics
from depthbox.data.label_files import matched_files
from depthbox.data.semantic import SemanticData, SemanticRecord, digest_of
from depthbox.data.splits import path_ends
from depthbox.data.video import common_size, moves, nothing_moves
from depthbox.data.video_files import sequences_of

__all__ = ["with_neighbours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Near:
    """The frames before and after one, and all of its sequence."""

    before: Path
    after: Path
    sequence: Sequence[Path]

    @property
    def first(self) -> Path:
        return self.sequence[0]


def with_neighbours(data: SemanticData, root: Path, *, gap: int, frames: str = "") -> SemanticData:
    """`data`, each photo with the frames `gap` before and after it, where its sequence has them and moves, and the intrinsics of its camera.

    `frames` is where the frames lie, as a pattern below `root`; empty: they are the photos themselves. A photo belongs to the frame of the same
    name in a folder of the same name (and below the same folders, where several have both). Photos of a still sequence stay, without neighbours
    (`findings`). Raises `InputError` where no photo has neighbours, where frames of one sequence have several sizes, and where nothing moves.
    """
    pool = (
        list(matched_files(root, frames, name="data.train.frames").values())
        if frames
        else [r.path for r in data.records]
    )
    near = _around(data.records, _neighbours([Path(path) for path in pool], gap))
    if not near:
        cause = f"no photo has a frame {gap} before and {gap} after it"
        raise InputError(
            frames or data.source, "", cause, "give data.train.frames= the pattern of the video's frames, or data.gap=0"
        )
    still = _still(data.records, near, gap)
    findings = _said_of_still(data.source, root, still, moving=any(one.first not in still for one in near.values()))
    near = {number: one for number, one in near.items() if one.first not in still}
    cameras: dict[Path, Intrinsics] = {}
    records = tuple(_record(record, near.get(record.image_id), cameras, root) for record in data.records)
    return replace(data, records=records, digest=digest_of(records), findings=(*data.findings, *findings))


def _neighbours(frames: list[Path], gap: int) -> dict[str, _Near]:
    """The end of a frame's path, from its folder or one above it on, where it means that frame alone -> what is near it."""
    often = Counter(end for frame in frames for end in _ends(frame))
    found = {}
    for sequence in sequences_of(frames):
        for i in range(gap, len(sequence) - gap):
            near = _Near(before=sequence[i - gap], after=sequence[i + gap], sequence=sequence)
            found.update({end: near for end in _ends(sequence[i]) if often[end] == 1})
    return found


def _ends(frame: Path) -> list[str]:
    """Its whole path first, folder and name last."""
    return path_ends(frame)[:-1]


def _around(records: Sequence[SemanticRecord], near: dict[str, _Near]) -> dict[int, _Near]:
    """What is near each photo, by its id. One without a header has nothing: it is set aside when it comes."""
    found = {}
    for record in records:
        around = next((near[end] for end in _ends(Path(record.path)) if end in near), None)
        if around is not None and record.size_hw != (1, 1):
            found[record.image_id] = around
    return found


def _still(records: Sequence[SemanticRecord], near: dict[int, _Near], gap: int) -> set[Path]:
    """The first frames of the sequences in which nothing moves. Raises `InputError` for frames of several sizes in one."""
    members: dict[Path, list[Path]] = {}
    sequences = {one.first: one.sequence for one in near.values()}
    for record in records:
        if one := near.get(record.image_id):
            members.setdefault(one.first, []).extend((one.before, Path(record.path), one.after))

    def is_still(first: Path) -> bool:
        common_size(_in_time(members[first], sequences[first]))
        return not moves(sequences[first], gap)

    with ThreadPoolExecutor(THREADS) as pool:
        return {first for first, still in zip(members, pool.map(is_still, members), strict=True) if still}


def _in_time(used: Sequence[Path], sequence: Sequence[Path]) -> list[Path]:
    """The frames that are looked at, not the thousands between them; photos that lie elsewhere than the frames come last."""
    wanted, frames = set(used), set(sequence)
    return [one for one in sequence if one in wanted] + [one for one in dict.fromkeys(used) if one not in frames]


def _said_of_still(source: str, root: Path, still: set[Path], *, moving: bool) -> list[str]:
    """A finding that names still sequences by their first frames. Raises `InputError` where no other is there."""
    names = [one.relative_to(root).as_posix() if one.is_relative_to(root) else str(one) for one in sorted(still)]
    if not moving:
        raise nothing_moves(source, names)
    said = "nothing moves in {} of the sequences of frames, which begin with {}: no depth is learnt from their photos"
    return [f"{source}: {said.format(len(names), few(names))}"] if names else []


def _record(record: SemanticRecord, near: _Near | None, cameras: dict[Path, Intrinsics], root: Path) -> SemanticRecord:
    if near is None:
        return record
    first = near.first
    if first not in cameras:
        cameras[first] = read_intrinsics(first.parent, root=root, size_hw=record.size_hw, first=first)
    return replace(record, before=str(near.before), after=str(near.after), intrinsics=cameras[first])

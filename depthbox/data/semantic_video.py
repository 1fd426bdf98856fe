"""Photos that are frames of a video -> the frames before and after them, and the camera, for methods that learn depth beside the classes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.data.intrinsics import Intrinsics, read_intrinsics
from depthbox.data.label_files import matched_files
from depthbox.data.semantic import SemanticData, SemanticRecord, digest_of
from depthbox.data.splits import path_ends
from depthbox.data.video_files import sequences_of

__all__ = ["with_neighbours"]

_Near = tuple[Path, Path, Path]
"""The frames before and after one, and the first of its sequence."""


def with_neighbours(data: SemanticData, root: Path, *, gap: int, frames: str = "") -> SemanticData:
    """`data`, each photo with the frames `gap` before and after it, where its sequence has them, and the intrinsics of its camera.

    `frames` is where the frames lie, as a pattern below `root`; empty: they are the photos themselves. A photo belongs to the frame of the same
    name in a folder of the same name (and below the same folders, where several have both). Raises `InputError` where no photo has neighbours.
    """
    pool = (
        list(matched_files(root, frames, name="data.train.frames").values())
        if frames
        else [r.path for r in data.records]
    )
    near = _neighbours([Path(path) for path in pool], gap)
    cameras: dict[Path, Intrinsics] = {}
    records = tuple(_record(record, near, cameras, root) for record in data.records)
    if not any(record.intrinsics for record in records):
        cause = f"no photo has a frame {gap} before and {gap} after it"
        raise InputError(
            frames or data.source, "", cause, "give data.train.frames= the pattern of the video's frames, or data.gap=0"
        )
    return replace(data, records=records, digest=digest_of(records))


def _neighbours(frames: list[Path], gap: int) -> dict[str, _Near]:
    """The end of a frame's path, from its folder or one above it on, where it means that frame alone -> what is near it."""
    often = Counter(end for frame in frames for end in _ends(frame))
    found = {}
    for sequence in sequences_of(frames):
        for i in range(gap, len(sequence) - gap):
            near = sequence[i - gap], sequence[i + gap], sequence[0]
            found.update({end: near for end in _ends(sequence[i]) if often[end] == 1})
    return found


def _ends(frame: Path) -> list[str]:
    """Its whole path first, folder and name last."""
    return path_ends(frame)[:-1]


def _record(
    record: SemanticRecord, near: dict[str, _Near], cameras: dict[Path, Intrinsics], root: Path
) -> SemanticRecord:
    around = next((near[end] for end in _ends(Path(record.path)) if end in near), None)
    if around is None or record.size_hw == (1, 1):  # without a header: set aside when it comes
        return record
    before, after, first = around
    if first not in cameras:
        cameras[first] = read_intrinsics(first.parent, root=root, size_hw=record.size_hw, first=first)
    return replace(record, before=str(before), after=str(after), intrinsics=cameras[first])

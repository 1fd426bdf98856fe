"""Photos that are frames of a video -> the frames before and after them, and the camera, for methods that learn depth beside the classes."""

from dataclasses import replace
from pathlib import Path

from depthbox.core.errors import InputError
from depthbox.data.intrinsics import Intrinsics, read_intrinsics
from depthbox.data.label_files import matched_files
from depthbox.data.semantic import SemanticData, SemanticRecord, digest_of
from depthbox.data.video_files import sequences_of

__all__ = ["with_neighbours"]


def with_neighbours(data: SemanticData, root: Path, *, gap: int, frames: str = "") -> SemanticData:
    """`data`, each photo with the frames `gap` before and after it, where its sequence has them, and the intrinsics of its camera.

    `frames` is where the frames lie, as a pattern below `root`; empty: they are the photos themselves. A photo belongs to the frame of the same
    name (of the same folder's name, where several have it). Raises `InputError` where no photo has neighbours.
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


def _neighbours(frames: list[Path], gap: int) -> dict[tuple[str, str], tuple[Path, Path, Path]]:
    """(folder, name) of a frame -> those around it, and the first of its sequence."""
    found = {}
    for sequence in sequences_of(frames):
        for i in range(gap, len(sequence) - gap):
            found[sequence[i].parent.name, sequence[i].name] = sequence[i - gap], sequence[i + gap], sequence[0]
    return found


def _record(
    record: SemanticRecord,
    near: dict[tuple[str, str], tuple[Path, Path, Path]],
    cameras: dict[Path, Intrinsics],
    root: Path,
) -> SemanticRecord:
    photo = Path(record.path)
    if (photo.parent.name, photo.name) not in near:
        return record
    before, after, first = near[photo.parent.name, photo.name]
    if first not in cameras:
        cameras[first] = read_intrinsics(first.parent, root=root, size_hw=record.size_hw, first=first)
    return replace(record, before=str(before), after=str(after), intrinsics=cameras[first])

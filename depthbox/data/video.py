"""Folders of frames with intrinsics -> checked sequences. Plain imports, no torch: everything that can be wrong is said here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError, UsageError
from depthbox.data.decode import BadImage, open_photo, read_image
from depthbox.data.intrinsics import Intrinsics, read_intrinsics
from depthbox.data.parallax import chosen_gaps
from depthbox.data.video_files import depths_of, find_sequences, jumps

__all__ = ["FrameRecord", "VideoData", "common_size", "moves", "nothing_moves", "read_video"]

STILL, CLEAR = 0.3, 2.0
"""Mean difference of neighbouring frames in grey levels (0..255), both shrunk to 64 pixels, below which nothing moves, and from which something does. Between
them there may be noise (up to 0.5 in compressed frames of a camera at rest) or a slow camera."""

_WIDER, _GROWS = 5, 1.15
"""Noise is the same between frames that are `_WIDER` times as far apart; what moves differs by more than `_GROWS` times as much (measured: noise 0.99 to 1.01,
a tenth of a pixel a frame 1.3 to 1.8)."""

_SHORT = "a frame is learnt from the frames before and after it"
_LOOKED_AT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One frame that has a frame before and one after it."""

    path: str
    before: str
    after: str
    intrinsics: Intrinsics
    size_hw: tuple[int, int]
    depth: str = ""
    """The file of measured depth beside the frame; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoData:
    """Sequences, checked. `records` in the order of the sequences and of time."""

    source: str
    records: tuple[FrameRecord, ...]
    sequences: tuple[str, ...]
    digest: str
    findings: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    gaps: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    title: str
    files: list[Path]
    size_hw: tuple[int, int]
    intrinsics: Intrinsics


def read_video(
    root: Path,
    names: Sequence[str],
    *,
    name: str = "data.train",
    gaps: Sequence[int] = (),
    frames: str = "",
    depths: str = "",
) -> VideoData:
    """The sequences `names` (folders or patterns below `root`), each frame with those before and after it, once for each of `gaps`
    that its sequence is long enough for; without any, those at which the camera has moved enough (`chosen_gaps`).

    `frames` and `depths` are patterns of file names where the folders hold more than one kind of picture. Raises `UsageError` and `InputError`
    in one line: no folder, too few frames, frames of changing size, intrinsics that are missing or not of these frames, nothing moves.
    """
    if not names:
        raise UsageError(f"{name}.sequences= is needed: folders of frames, with commas between; paths below {root}")
    if gaps and (min(gaps) < 1 or len(set(gaps)) < len(gaps)):
        raise UsageError(f"data.gap={','.join(map(str, gaps))}: allowed are different numbers from 1 up")
    least, found = min(gaps, default=1), find_sequences(root, names, name=name, frames=frames)
    sequences = [_sequence(title, folder, files, root=root, least=least) for title, folder, files in found]
    findings: list[str] = []
    if not gaps:
        gaps, shift = chosen_gaps([(one.files, one.intrinsics) for one in sequences])
        findings += _chosen(root, gaps, shift)
    moving = [moves(one.files, _longest(gaps, one.files)) for one in sequences]
    kept = [one for one, there in zip(sequences, moving, strict=True) if there]
    still = [one.title for one, there in zip(sequences, moving, strict=True) if not there]
    records = [record for one in kept for gap in gaps for record in _records(one, gap, depths)]
    if not records:
        raise nothing_moves(root, still)
    findings += [said for one in kept for said in _missing(root, one.title, one.files)]
    findings += [f"{root}: {title}: nothing moves in it; it is left out" for title in still]
    return VideoData(
        source=str(root),
        records=tuple(records),
        sequences=tuple(one.title for one in kept),
        digest=_digest(records),
        findings=tuple(findings),
        gaps=tuple(gaps),
    )


def _sequence(title: str, folder: Path, files: list[Path], *, root: Path, least: int) -> _Sequence:
    """Raises `InputError` for one that is too short, of changing size, or of an unknown camera."""
    if len(files) < 2 * least + 1:
        cause = f"has {len(files)} frame{'s' * (len(files) != 1)}, and {_SHORT}: {2 * least + 1} are needed"
        raise InputError(folder, title, cause, "give a longer sequence" + ", or a smaller data.gap=" * (least > 1))
    size_hw = common_size(files)
    intrinsics = read_intrinsics(folder, root=root, size_hw=size_hw, first=files[0])
    return _Sequence(title=title, files=files, size_hw=size_hw, intrinsics=intrinsics)


def _chosen(root: Path, gaps: Sequence[int], shift: float | None) -> list[str]:
    if tuple(gaps) == (1,) or shift is None:
        return []
    words = ",".join(map(str, gaps))
    return [
        f"{root}: from frame to frame the camera moves {shift:.2f} pixels beside turning, too little to show depth: a frame is learnt from those {words} "
        f"frames away (data.gap={words}; data.gap=1 takes its neighbours)"
    ]


def nothing_moves(root: object, still: Sequence[str]) -> InputError:
    """What is said where every sequence is still."""
    cause = "nothing moves: neighbouring frames are the same picture, and depth is learnt from motion alone"
    return InputError(root, ", ".join(still[:3]), cause, "give video of a moving camera, or a larger data.gap=")


def _missing(root: Path, title: str, files: list[Path]) -> list[str]:
    """A finding where frames of a sequence seem to be missing."""
    found = jumps(files)
    if not found:
        return []
    before, after = found[0]
    times = f"{len(found)} time{'s' * (len(found) > 1)}"
    return [
        f"{root}: {title}: the numbers of its frames jump {times}, such as from {before.name} to {after.name}: frames that "
        "are far apart are taken for neighbours; give the parts folders of their own"
    ]


def _records(sequence: _Sequence, gap: int, depths: str) -> list[FrameRecord]:
    files, maps = sequence.files, depths_of(sequence.files, depths)
    return [
        FrameRecord(
            path=str(files[i]),
            before=str(files[i - gap]),
            after=str(files[i + gap]),
            intrinsics=sequence.intrinsics,
            size_hw=sequence.size_hw,
            depth=maps[i],
        )
        for i in range(gap, len(files) - gap)
    ]


def _longest(gaps: Sequence[int], files: list[Path]) -> int:
    return max(gap for gap in gaps if len(files) >= 2 * gap + 1)


def common_size(files: Sequence[Path]) -> tuple[int, int]:
    """Of the frames of a sequence, read from the headers alone; a frame without one is set aside in the run.

    Raises `InputError` for the first frame of another size, and where no frame has a header.
    """
    sizes = [(file, size) for file in files if (size := _size(file)) is not None]
    if not sizes:
        cause = f"cannot be read as a picture, and none of the {len(files)} frames can"
        raise InputError(files[0], "", cause, "write them again")
    first = sizes[0][1]
    for file, size in sizes:
        if size != first:
            have, want = (f"{hw[1]}x{hw[0]}" for hw in (size, first))
            cause = f"is {have}, the frames before it are {want} (width x height): one camera has one size"
            raise InputError(file, "", cause, "put frames of another size into a sequence of their own")
    return first


def _size(file: Path) -> tuple[int, int] | None:
    """Height and width as the frame is shown; None without a readable header."""
    try:
        with file.open("rb") as stream:
            photo, turn = open_photo(stream, file)
            return (photo.width, photo.height) if turn >= 5 else (photo.height, photo.width)
    except Exception:  # a bomb, or damage: Pillow raises whatever its parser stumbles over
        return None


def moves(files: Sequence[Path], gap: int) -> bool:
    """Whether one of some pairs of frames `gap` apart differs by `CLEAR` (of a camera that moves, the first does), or by `STILL` and more so further apart."""
    near: list[float] = []
    for i in _starts(files, gap):
        near.append(_difference(files[i], files[i + gap]))
        if near[-1] >= CLEAR:
            return True
    wide = min(_WIDER * gap, len(files) - 1)
    if max(near) < STILL or wide <= gap:
        return max(near) >= STILL
    return bool(
        np.mean([_difference(files[i], files[i + wide]) for i in _starts(files, wide)]) > _GROWS * np.mean(near)
    )


def _starts(files: Sequence[Path], gap: int) -> list[int]:
    return np.unique(np.linspace(0, len(files) - 1 - gap, _LOOKED_AT).astype(int)).tolist()


def _difference(a: Path, b: Path) -> float:
    try:
        first, second = (
            np.asarray(read_image(path, short_side=64, max_side=None).image, np.float32).mean(2) for path in (a, b)
        )
    except BadImage:  # set aside by name in the run
        return CLEAR
    return float(np.abs(first - second).mean())


def _digest(records: Sequence[FrameRecord]) -> str:
    """Of names, sizes in bytes, and intrinsics: what another video would not share."""
    total = hashlib.sha256(b"depthbox-video-1")
    for record in records:
        sizes = [Path(path).stat().st_size for path in (record.path, record.before, record.after)]
        row = [*Path(record.path).parts[-2:], *sizes, *record.intrinsics.values]
        total.update(json.dumps(row).encode())
    return total.hexdigest()

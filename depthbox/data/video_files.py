"""Which files of a folder are the frames of a sequence, in their order, and which file is the measured depth of a frame."""

import fnmatch
import glob
import re
from collections.abc import Sequence
from pathlib import Path

from depthbox.core.errors import InputError

__all__ = ["depth_of", "find_sequences", "sequences_of"]

_PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
_MAPS = (".png", ".npy", ".tif", ".tiff")
_CITYSCAPES = re.compile(r"(?P<sequence>.+_\d{6})_(?P<frame>\d{6})_leftImg8bit$")
_NO_PHOTO = ("depth", "disparity", "semantic", "instance", "label", "mask", "segmentation", "confidence")


def find_sequences(
    root: Path, names: Sequence[str], *, name: str, frames: str = ""
) -> list[tuple[str, Path, list[Path]]]:
    """(title, folder, frames in the order of time) a sequence. A folder of Cityscapes' layout holds many; KITTI's frames lie in image_02/data."""
    found: list[tuple[str, Path, list[Path]]] = []
    for pattern in names:
        for folder in _folders(root, pattern, name):
            found += _sequences_in(folder, frames)
    return found


def depth_of(frame: Path, pattern: str = "") -> str:
    """The depth file beside a frame: frame_012.jpg has depth_012.png, a.jpg has a.depth.png; "" where there is none.

    A `pattern` such as "depth/*.png" (below the frame's folder) names the files; they belong to a frame by their number.
    """
    if pattern:
        number = _number(frame)
        candidates = sorted(frame.parent.glob(pattern))
        return next((str(path) for path in candidates if _number(path) == number and path != frame), "")
    stems = {f"{frame.stem}.depth", f"{frame.stem}_depth"}
    if renamed := re.sub(r"^(frame|rgb|image|img|color)", "depth", frame.stem):
        stems.add(renamed)
    stems.discard(frame.stem)
    options = (frame.with_name(stem + ending) for stem in sorted(stems) for ending in _MAPS)
    return next((str(path) for path in options if path.is_file()), "")


def _folders(root: Path, pattern: str, name: str) -> list[Path]:
    place = root / Path(pattern).expanduser()
    if place.is_dir():
        return [place]
    folders = sorted(path for path in map(Path, glob.glob(str(place))) if path.is_dir())
    if not folders:
        cause = "there is no such folder, and none matches"
        near = sorted(p.name for p in root.iterdir() if p.is_dir())[:5] if root.is_dir() else []
        hint = f"; {root} has {', '.join(near)}" if near else ""
        raise InputError(place, "", cause, f"give {name}.sequences=FOLDER,FOLDER or a pattern such as 'seq_*'{hint}")
    return folders


def _sequences_in(folder: Path, frames: str) -> list[tuple[str, Path, list[Path]]]:
    kitti = folder / "image_02" / "data"
    files = _frames(kitti if kitti.is_dir() else folder, frames)
    return [(_title(part[0], folder), folder, part) for part in sequences_of(files)]


def sequences_of(files: Sequence[Path]) -> list[list[Path]]:
    """Files of one folder, and in Cityscapes' layout of one drive, in the order of time."""
    parts: dict[tuple[Path, str], list[Path]] = {}
    for file in sorted(files, key=_natural):
        parts.setdefault((file.parent, _title(file, file.parent)), []).append(file)
    return list(parts.values())


def _title(file: Path, folder: Path) -> str:
    match = _CITYSCAPES.match(file.stem)
    return match["sequence"] if match else folder.name


def _frames(folder: Path, pattern: str) -> list[Path]:
    """The files of the one kind of photo in a folder. Raises `InputError` where there is none, or more than one kind."""
    photos = [path for path in folder.iterdir() if path.suffix.lower() in _PHOTOS and path.is_file()]
    if pattern:
        photos = [path for path in photos if fnmatch.fnmatch(path.name, pattern)]
    else:
        photos = [path for path in photos if not any(word in path.stem.lower() for word in _NO_PHOTO)]
    kinds: dict[str, list[Path]] = {}
    for path in photos:
        kinds.setdefault(re.sub(r"\d+", "#", path.name), []).append(path)
    if not photos:
        what = f"no photo matches data.frames={pattern}" if pattern else "no photo is in it"
        raise InputError(folder, "", what, "a sequence is a folder of frames, such as frame_000.jpg, frame_001.jpg")
    common = max(kinds, key=lambda kind: len(kinds[kind]))
    others = [path for kind, found in kinds.items() if kind != common for path in found]
    if others and not pattern:
        cause = f"holds pictures of more than one kind: {kinds[common][0].name}, {others[0].name}"
        raise InputError(folder, "", cause, "name the frames with a pattern, such as data.frames='frame_*.jpg'")
    return photos


def _number(path: Path) -> int | None:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

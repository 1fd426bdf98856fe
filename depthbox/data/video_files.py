"""Which files of a folder are the frames of a sequence, in their order, and which file is the measured depth of a frame."""

import fnmatch
import glob
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from depthbox.core.errors import InputError

__all__ = ["depth_of", "depths_of", "find_sequences", "jumps", "sequences_of"]

_PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
_MAPS = (".png", ".npy", ".tif", ".tiff")
_CITYSCAPES = re.compile(r"(?P<sequence>.+_\d{6})_(?P<frame>\d{6})_leftImg8bit$")
_COLOUR = re.compile(r"[._-](color|colour|rgb|image)$")
_NO_PHOTO = ("depth", "disparity", "semantic", "instance", "label", "mask", "segmentation", "confidence")


def find_sequences(
    root: Path, names: Sequence[str], *, name: str, frames: str = ""
) -> list[tuple[str, Path, list[Path]]]:
    """(title, folder, frames in the order of time) a sequence. A folder of Cityscapes' layout holds many; KITTI's frames lie in image_02/data."""
    found: list[tuple[str, Path, list[Path]]] = []
    # A folder that two patterns name is one sequence.
    for folder in dict.fromkeys(folder for pattern in names for folder in _folders(root, pattern, name)):
        found += _sequences_in(folder, frames)
    return found


def depth_of(frame: Path) -> str:
    """The depth file beside a frame: frame_012.jpg has depth_012.png, a.jpg and a.color.jpg have a.depth.png; "" where there is none."""
    stems = {f"{stem}{sign}depth" for stem in (frame.stem, _COLOUR.sub("", frame.stem)) for sign in "._-"}
    if renamed := re.sub(r"^(frame|rgb|image|img|color)", "depth", frame.stem):
        stems.add(renamed)
    stems.discard(frame.stem)
    options = (frame.with_name(stem + ending) for stem in sorted(stems) for ending in _MAPS)
    return next((str(path) for path in options if path.is_file()), "")


def depths_of(frames: Sequence[Path], pattern: str) -> list[str]:
    """The depth file of each frame of a sequence, "" where there is none: beside it, or by its number among the files of `pattern`.

    A `pattern` such as "depth/*.png" starts at the frames' folder unless it is absolute. Raises `InputError` where it means two files for a frame.
    """
    if not pattern:
        return [depth_of(frame) for frame in frames]
    # Once a sequence: to look through a folder of thousands for every frame takes minutes.
    maps: dict[int | None, list[Path]] = {}
    for folder in {frame.parent for frame in frames}:
        place = Path(glob.escape(str(folder))) / Path(pattern).expanduser()
        for path in map(Path, sorted(glob.glob(str(place), recursive=True))):
            maps.setdefault(_number(path), []).append(path)
    return [_only([path for path in maps.get(_number(frame), ()) if path != frame], frame, pattern) for frame in frames]


def _only(maps: Sequence[Path], frame: Path, pattern: str) -> str:
    """Of several with a frame's number, the one below a folder of its folder's name."""
    if len(maps) > 1:
        maps = [path for path in maps if frame.parent.name in path.parts] or maps
    if len(maps) > 1:
        cause = f"has more than one map of data.depths={pattern}: {maps[0]}, {maps[1]}"
        raise InputError(frame, "", cause, "give a pattern below the frames' folder that means one map a number")
    return str(maps[0]) if maps else ""


def jumps(frames: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Neighbours in time whose numbers are more than twice as far apart as usual: frames are missing between them."""
    numbers = [_number(frame) for frame in frames]
    steps = [b - a for a, b in pairwise(numbers) if a is not None and b is not None]
    # Numbers that do not count up, such as the fractions of timestamps, say nothing.
    if len(steps) < len(frames) - 1 or min(steps, default=0) <= 0:
        return []
    usual = median(steps)
    return [pair for pair, step in zip(pairwise(frames), steps, strict=True) if step > 2 * usual]


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
    """The last one of the name; the 8 of Cityscapes' "_leftImg8bit" counts no frames."""
    numbers = re.findall(r"\d+", path.stem.removesuffix("_leftImg8bit"))
    return int(numbers[-1]) if numbers else None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

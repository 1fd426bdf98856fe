"""What an experiment names on disk: the data root, photos and annotations below it, the source of depth. No torch."""

import glob
import json
import os
import re
from pathlib import Path

from depthbox.core.errors import InputError, UsageError
from depthbox.core.remote import is_remote
from depthbox.data.cityscapes import read_cityscapes
from depthbox.data.coco import read_coco
from depthbox.data.fetch import DataCopy, local_copy
from depthbox.data.schema import CocoData
from depthbox.depth.cache import default_cache_folder
from depthbox.experiment import SemanticSplitConfig, SplitConfig, VideoSplitConfig
from depthbox.tracking.read import model_of_run

__all__ = ["data_copy", "data_root", "depth_spec", "files_of", "init_path", "read_split", "run_folder"]

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")

_RUN_ID = re.compile("[0-9a-f]{32}")
"""MLflow's ids are hex; anything else is a folder."""


def data_root(root: str) -> Path:
    """`data.root`, or `$DEPTHBOX_DATA`, or the current folder; of an object store, the copy on this machine."""
    copy = data_copy(root)
    return Path(copy.folder) if copy else Path(_named(root) or ".").expanduser().absolute()


def data_copy(root: str) -> DataCopy | None:
    """The copy of a data root that is an object store's, made or brought up to date; None for a folder."""
    named = _named(root)
    return local_copy(named, default_cache_folder()) if is_remote(named) else None


def _named(root: str) -> str:
    return root or os.environ.get("DEPTHBOX_DATA", "")


def read_split(
    root: Path, split: SplitConfig | VideoSplitConfig | SemanticSplitConfig, name: str, *, masks: bool
) -> CocoData:
    """The annotations of `data.train` or `data.val` (`name`): a COCO JSON, or a folder of Cityscapes' maps. Raises `UsageError` where a path is missing."""
    if isinstance(split, VideoSplitConfig):
        raise UsageError(f"{name} is video, and has no annotated photos")
    if isinstance(split, SemanticSplitConfig):
        raise UsageError(f"{name} has a class for every pixel, and no objects")
    if not split.annotations or not split.images:
        raise UsageError(
            f"{name}.images= (a folder) and {name}.annotations= (a COCO JSON, or a folder such as gtFine/train) are needed; paths below data.root={root}"
        )
    read = read_cityscapes if (root / split.annotations).is_dir() else read_coco
    return read(root / split.annotations, images=root / split.images, masks=masks)


def depth_spec(source: str, root: Path, *, uri: str = "") -> str:
    """`depth.source` with absolute paths: `maps:` below the data root; a folder of `hf:` and `run:`, a file of `builtin:` below the current one.

    `uri` is the store that knows the run of `run:ID`; else $MLFLOW_TRACKING_URI.
    """
    form, _, rest = source.partition(":")
    if form == "maps" and rest:
        return f"maps:{root / Path(rest).expanduser()}"
    if form == "hf" and Path(rest).expanduser().is_dir():
        return f"hf:{Path(rest).expanduser().absolute()}"
    if form == "builtin" and rest:
        return f"builtin:{Path(rest).expanduser().absolute()}"
    if form == "run" and rest:
        return f"run:{run_folder(rest, uri=uri)}"
    return source


def init_path(named: str, *, uri: str = "") -> str:
    """`model.init` as an absolute path: a run or a file from the current folder, or a run by its MLflow id. Raises `InputError` for an unknown id."""
    is_id = _RUN_ID.fullmatch(named) and not os.path.exists(named)
    return str(run_folder(named, uri=uri)) if is_id else os.path.abspath(named)


def run_folder(named: str, *, uri: str = "") -> Path:
    """A run by its folder, or by its MLflow id: of a run below `out/` of the current folder, else its model from the store. Raises `InputError`."""
    folder = Path(named).expanduser()
    if folder.exists():
        return folder.absolute()
    for record in sorted(Path("out").glob("**/run.json")):
        if json.loads(record.read_text()).get("run_id") == named:
            return record.parent.absolute()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    kept = default_cache_folder() / "runs" / named
    model = model_of_run(uri, named, kept) if _RUN_ID.fullmatch(named) else None
    if model is None:
        cause = "is no folder, nor the id of a run below out/ or in the store of $MLFLOW_TRACKING_URI"
        raise InputError(named, "", cause, "give the folder (out=) of a finished run")
    return model.absolute()


def files_of(pattern: str, root: Path, *, name: str, endings: tuple[str, ...] = PHOTOS) -> list[str]:
    """Sorted absolute paths of the files in a folder (not below it), or of those that match a pattern ("rgb/*.jpg").

    Raises `UsageError` where nothing is given, `InputError` where nothing is found.
    """
    if not pattern:
        raise UsageError(f"{name}= is needed: a folder, or a pattern such as '{name}=DIR/*.png'; paths below {root}")
    place = root / Path(pattern).expanduser()
    found = [str(path) for path in place.iterdir()] if place.is_dir() else glob.glob(str(place), recursive=True)
    files = sorted(path for path in found if path.lower().endswith(endings) and os.path.isfile(path))
    if not files:
        cause = "there is no such folder, and no file matches" if not found and not place.is_dir() else "no file ends"
        raise InputError(place, "", f"{cause} in {', '.join(endings)}", f"give {name}=FOLDER or a pattern")
    return files

"""Disparity from depth maps on disk: one .png, .npy or .tif a photo, found by the photo's stem."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.estimator import normalised, same_aspect

__all__ = ["MapsDepth", "read_inverse", "row_correlation", "sign_finding"]

Kind = Literal["depth_mm", "depth_m", "disparity"]
Zero = Literal["far", "missing"]

SUFFIXES = (".png", ".npy", ".tif", ".tiff")
_NEAREST_PLAUSIBLE_MM = 100.0
_MOST = 65535
_FARTHEST_PLAUSIBLE_M = 1000.0


class MapsDepth:
    """A `DepthEstimator` that reads. Not cached and no inference: the maps are files already."""

    cached = False

    def __init__(self, folder: str | Path, *, kind: str = "depth_mm", zero: str = "far") -> None:
        self.kind, self.zero = _choices(kind, zero)
        self.folder = Path(folder)
        self.name = f"maps:{folder}"
        self._by_stem = _index(self.folder)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over kind, zero and each map's name, size and last 4 KiB (a PNG keeps its pixels' checksum there)."""
        total = hashlib.sha256(f"depthbox-maps-1 {self.kind} {self.zero}".encode())
        for path in sorted(path for found in self._by_stem.values() for path in found):
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - 4096))
                total.update(f"\0{path.name}\0{size}\0".encode() + file.read())
        return total.hexdigest()

    def require(self, paths: Sequence[str]) -> None:
        """Every photo has exactly one map and no two photos share one; call it before a run. Raises `InputError`."""
        owner: dict[Path, str] = {}
        for path in paths:
            other = owner.setdefault(self._map_of(path), path)
            if other != path:
                cause = f"shares the map {self._map_of(path).name} with the photo {other}, which has the same stem"
                raise InputError(self.folder, f"the photo {path}", cause, "give the photos different names")

    def disparity(self, images: list[np.ndarray], paths: list[str]) -> list[np.ndarray]:
        return [self._one(image, path) for image, path in zip(images, paths, strict=True)]

    def findings(self, paths: Sequence[str], *, count: int = 16) -> tuple[str, ...]:
        """What looks wrong in some maps spread over `paths`, in words; empty where nothing does."""
        chosen = [self._map_of(path) for path in paths[:: max(1, len(paths) // count)][:count]]
        raw = [read_inverse(path, kind=self.kind, zero=self.zero) for path in chosen]
        found = (
            sign_finding([normalised(inverse) for inverse in raw]),
            zero_finding(raw) if self.zero == "far" else None,
        )
        return tuple(f"{self.folder}: {finding}" for finding in found if finding)

    def _one(self, image: np.ndarray, path: str) -> np.ndarray:
        source = self._map_of(path)
        inverse = read_inverse(source, kind=self.kind, zero=self.zero)
        size_hw = image.shape[:2]
        if not same_aspect(inverse.shape, size_hw):
            have, want = "x".join(map(str, inverse.shape)), "x".join(map(str, size_hw))
            raise InputError(
                source,
                "",
                f"the map is {have}, its photo {want} (height x width): not the same aspect",
                "write it at its photo's size",
            )
        return normalised(_thinned(inverse, size_hw))

    def _map_of(self, path: str) -> Path:
        # A folder may hold the photos themselves beside the maps: a photo is never its own map.
        found = [option for option in self._by_stem.get(Path(path).stem, []) if option != Path(path)]
        if not found:
            next_step = f"add {Path(path).stem}.png (or .npy, .tif) to it; there are {len(self._by_stem)} maps"
            raise InputError(self.folder, "", f"the photo {path} has no map", next_step)
        if len(found) > 1:
            names = " and ".join(option.name for option in found)
            raise InputError(self.folder, "", f"the photo {path} has more than one map: {names}", "keep one of them")
        return found[0]


def _choices(kind: str, zero: str) -> tuple[Kind, Zero]:
    if kind not in ("depth_mm", "depth_m", "disparity"):
        raise UsageError(f"depth.maps.kind={kind!r}: allowed are depth_mm, depth_m, disparity")
    if zero not in ("far", "missing"):
        raise UsageError(f"depth.maps.zero={zero!r}: allowed are far, missing")
    return cast(Kind, kind), cast(Zero, zero)


def _index(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise InputError(folder, "", "this folder of depth maps does not exist", "depth.source=maps:DIR takes a folder")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    if not by_stem:
        raise InputError(folder, "", "no depth map in it", "a map is named like its photo, with .png, .npy or .tif")
    return by_stem


def _thinned(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Down to the image's size, nearest sample so that NaN and edges do not bleed; a smaller map stays as it is."""
    rows, columns = (
        ((np.arange(min(have, want)) + 0.5) * have / min(have, want)).astype(int)
        for have, want in zip(values.shape, size_hw, strict=True)
    )
    return values[np.ix_(rows, columns)]


# One file -------------------------------------------------------------------------------------------------------------


def read_inverse(path: Path, *, kind: str, zero: str) -> np.ndarray:
    """1/z as float32 (h, w), in 1/m for depths, in the file's scale for disparity; 0 = sky, NaN = not measured.

    A depth of 65535, the most that 16 bits hold, is as good as 0: some cameras write it where they saw nothing, others where it is too far.

    Raises `InputError` where the file is no map, or its sign or unit contradicts `kind`.
    """
    stored = _read_npy(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if stored.ndim == 3 and 1 in (stored.shape[0], stored.shape[2]):
        stored = stored.squeeze(0 if stored.shape[0] == 1 else 2)
    if stored.ndim != 2 or stored.dtype.kind not in "uif" or 0 in stored.shape:
        raise InputError(
            path,
            "",
            f"holds {stored.dtype} of shape {stored.shape}; a map is numbers, height x width",
            "store one channel",
        )
    values = stored.astype(np.float32)
    _check_unit(path, stored, values, kind)
    if kind == "disparity":
        inverse = values / np.iinfo(stored.dtype).max if stored.dtype.kind in "ui" else values
    else:
        with np.errstate(divide="ignore"):
            inverse = (1000.0 if kind == "depth_mm" else 1.0) / values
    nothing = (values == 0) | ((stored.dtype.kind in "ui") & (kind != "disparity") & (values == _MOST))
    return np.where(nothing, np.float32(0 if zero == "far" else np.nan), inverse).astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "write it with numpy.save, numbers only") from None


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "TIFF")) as picture:
            mode, values = picture.mode, np.asarray(picture)
    # A damaged file makes Pillow raise whatever its parser stumbles over.
    except Exception as error:
        raise InputError(path, "", f"cannot be read ({type(error).__name__}: {error})", "write it again") from None
    if mode not in ("L", "F", "I") and not mode.startswith("I;16"):
        raise InputError(
            path,
            "",
            f"is a colour or palette picture ({mode}); a map has one channel of numbers",
            "store 16-bit grey, or .npy",
        )
    return values


def _check_unit(path: Path, stored: np.ndarray, values: np.ndarray, kind: str) -> None:
    known = values[np.isfinite(values) & (values != 0)]
    if known.size == 0:
        return
    low, high = float(known.min()), float(known.max())
    if low < 0:
        raise InputError(
            path,
            "",
            f"holds negative values (down to {low:.4g})",
            "mark missing pixels with NaN, or with 0 and depth.maps.zero=missing",
        )
    fault = {"depth_mm": _fault_mm, "depth_m": _fault_m, "disparity": _fault_disparity}[kind](
        stored.dtype, float(np.median(known)), high
    )
    if fault:
        raise InputError(path, f"depth.maps.kind={kind}", *fault)


Fault = tuple[str, str] | None


def _fault_mm(dtype: np.dtype, median: float, high: float) -> Fault:
    if dtype.itemsize == 1:
        return (
            "an 8-bit file holds no millimetres beyond 0.25 m",
            "write 16 bits; or depth.maps.kind=disparity if brighter is nearer",
        )
    if high < _NEAREST_PLAUSIBLE_MM:
        return (
            f"its farthest value would be {high:.4g} mm",
            "depth.maps.kind=depth_m if these are metres, disparity if larger is nearer",
        )
    return None


def _fault_m(dtype: np.dtype, median: float, high: float) -> Fault:
    if dtype.kind in "ui":
        return f"the file holds whole numbers up to {high:.0f}, hardly metres", "depth.maps.kind=depth_mm"
    if median > _FARTHEST_PLAUSIBLE_M:
        return f"half of it would be farther than {median:.0f} m", "depth.maps.kind=depth_mm"
    return None


def _fault_disparity(dtype: np.dtype, median: float, high: float) -> Fault:
    next_step = (
        "depth.maps.kind=depth_mm if these are millimetres, depth_m if metres; else scale each disparity to its range"
    )
    if dtype.kind == "f":
        return (f"values up to {high:.4g} are no disparity in [0, 1]", next_step) if high > 1.01 else None
    top = np.iinfo(dtype).max
    return (
        (f"the largest value is {high:.0f} of {top}; a stored disparity uses its range", next_step)
        if high < 0.5 * top
        else None
    )


# Findings over several maps -------------------------------------------------------------------------------------------


def row_correlation(disparity: np.ndarray) -> float:
    """Spearman correlation of a map with its row number, over some ten thousand known pixels; NaN where undefined."""
    from scipy.stats import spearmanr

    step = max(1, int(np.sqrt(disparity.size / 10_000)))
    sample = disparity[::step, ::step]
    rows = np.broadcast_to(np.arange(sample.shape[0])[:, None], sample.shape)
    known = np.isfinite(sample)
    if not known.any() or np.ptp(sample[known]) == 0 or np.ptp(rows[known]) == 0:
        return float("nan")
    return float(spearmanr(sample[known], rows[known]).statistic)


def sign_finding(disparities: Sequence[np.ndarray]) -> str | None:
    """A warning where lower pixels are the farther ones: upright photos have near ground below, so the sign is off."""
    # Sky (0) is left out: it lies above whatever the sign, and hides a wrong one.
    correlations = np.array([row_correlation(np.where(disparity == 0, np.nan, disparity)) for disparity in disparities])
    correlations = correlations[~np.isnan(correlations)]
    if correlations.size == 0 or correlations.mean() > -0.2:
        return None
    return (
        f"the maps look inverted: lower in the photo is farther (rank correlation {correlations.mean():.2f} "
        f"over {correlations.size} maps); check depth.maps.kind (disparity: larger is nearer; depth: larger is farther)"
    )


def zero_finding(inverses: Sequence[np.ndarray]) -> str | None:
    """A warning where zeros, taken for sky, mostly lie below something measured: there they are holes of a sensor."""
    zeros = sum(int((inverse == 0).sum()) for inverse in inverses)
    below = sum(int(((inverse == 0) & np.logical_or.accumulate(inverse > 0, axis=0)).sum()) for inverse in inverses)
    if below < 0.01 * sum(inverse.size for inverse in inverses) or below < 0.5 * zeros:
        return None
    share = f"{below / zeros:.0%} of the pixels with 0, which is taken for sky, lie below something measured"
    return f"{share}; if 0 means not measured say depth.maps.zero=missing"

"""How good is a disparity: `depth evaluate` against measured depth, and `depth run` to look at it."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.cache import DisparityCache
from depthbox.depth.estimator import DepthEstimator, checked, name_of, same_aspect
from depthbox.depth.maps import read_inverse, zero_finding

__all__ = [
    "ALIGNMENTS", "PRIOR", "aligned_depth", "depth_errors", "evaluate_depth", "map_scores", "mean_defined", "preview", "rank_correlation",
    "resized_map", "run_depth",
]  # fmt: skip

log = logging.getLogger(__name__)

FARTHEST_M = 80.0
"""Predicted depth is capped here, and truth beyond it is not scored, as is usual for KITTI and Cityscapes."""

PRIOR = "lower_is_nearer"
"""The row any estimator must beat: disparity = row number, with the same alignment."""

_LOOKED_AT = 8
_STOPS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)
"""Far to near: dark, violet, red, orange, pale yellow; not measured is grey."""


def depth_errors(truth_m: np.ndarray, predicted_m: np.ndarray) -> dict[str, float]:
    """The seven usual numbers over positive depths "P" in metres (Eigen et al. 2014).

    abs_rel = mean |t - p| / t; sq_rel = mean (t - p)^2 / t; rmse; rmse_log over natural logarithms;
    a1, a2, a3 = share with max(t/p, p/t) < 1.25, 1.25^2, 1.25^3.
    """
    difference = truth_m - predicted_m
    ratio = np.maximum(truth_m / predicted_m, predicted_m / truth_m)
    errors = {
        "abs_rel": np.mean(np.abs(difference) / truth_m),
        "sq_rel": np.mean(difference**2 / truth_m),
        "rmse": np.sqrt(np.mean(difference**2)),
        "rmse_log": np.sqrt(np.mean((np.log(truth_m) - np.log(predicted_m)) ** 2)),
    }
    shares = {f"a{power}": np.mean(ratio < 1.25**power) for power in (1, 2, 3)}
    return {key: float(value) for key, value in (errors | shares).items()}


def _no_alignment(disparity: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    return disparity


def _median_scale(disparity: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    return disparity * (np.median(1 / truth_m) / max(float(np.median(disparity)), 1e-6))


def _scale_and_shift(disparity: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """Least squares of a d + b against 1/z: min-max disparity is known up to both (MiDaS)."""
    design = np.stack([disparity, np.ones_like(disparity)], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(design, 1 / truth_m, rcond=None)
    return scale * disparity + shift


ALIGNMENTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "scale_shift": _scale_and_shift,
    "median": _median_scale,
    "none": _no_alignment,
}


def aligned_depth(disparity: np.ndarray, truth_m: np.ndarray, *, alignment: str = "scale_shift") -> np.ndarray:
    """Metres "P" from disparity "P": scale and shift fitted to the truth of the same image, capped at `FARTHEST_M`."""
    if alignment not in ALIGNMENTS:
        raise UsageError(f"alignment={alignment!r}: allowed are {', '.join(ALIGNMENTS)}")
    inverse = ALIGNMENTS[alignment](disparity.astype(np.float64), truth_m.astype(np.float64))
    return 1 / np.clip(inverse, 1 / FARTHEST_M, 1e3)


def rank_correlation(disparity: np.ndarray, inverse_depth: np.ndarray) -> float:
    """Spearman over "P"; NaN where either is constant."""
    from scipy.stats import spearmanr

    if disparity.size < 2 or np.ptp(disparity) == 0 or np.ptp(inverse_depth) == 0:
        return float("nan")
    return float(spearmanr(disparity, inverse_depth).statistic)


def evaluate_depth(
    estimator: DepthEstimator,
    image_paths: Sequence[str],
    depth_paths: Sequence[str],
    *,
    kind: str = "depth_mm",
    zero: str = "far",
    alignment: str = "scale_shift",
) -> dict:
    """Means over images: {"images", "alignment", "skipped", "estimator": {...}, "lower_is_nearer": {...}}.

    The two rows hold the numbers of `depth_errors`, and "spearman".
    A photo that cannot be read, or whose map cannot be used, is named in "skipped". Raises `InputError` where that is true of all.
    Spearman is over every known pixel, sky among them; the errors are over pixels nearer than `FARTHEST_M`.
    """
    if kind == "disparity":
        raise UsageError("maps.kind=disparity: errors in metres need depth_mm or depth_m")
    if len(image_paths) != len(depth_paths) or not image_paths:
        raise UsageError(
            f"{len(image_paths)} photos and {len(depth_paths)} depth maps; allowed is one map a photo, at least one"
        )
    if zero == "far":
        _say_of_holes(depth_paths[:: max(1, len(depth_paths) // _LOOKED_AT)][:_LOOKED_AT], kind)
    scores: list[dict[str, dict[str, float]]] = []
    skipped: list[InputError] = []
    for path, depth_path in _progress(list(zip(image_paths, depth_paths, strict=True)), "depth evaluate"):
        try:
            inverse = read_inverse(Path(depth_path), kind=kind, zero=zero)
            scores.append(_scores_of(estimator, path, inverse, depth_path, alignment))
        except InputError as error:
            skipped.append(error)
    if not scores:
        raise skipped[0]
    for fault in skipped:
        log.warning("not scored: %s", fault)
    means = {row: {key: mean_defined([s[row][key] for s in scores]) for key in scores[0][row]} for row in scores[0]}
    return {"images": len(scores), "alignment": alignment, "skipped": list(map(str, skipped)), **means}


def _say_of_holes(paths: Sequence[str], kind: str) -> None:
    maps = []
    for path in paths:
        with suppress(InputError):  # said when its photo is scored
            maps.append(read_inverse(Path(path), kind=kind, zero="far"))
    if maps and (finding := zero_finding(maps)):
        log.warning("%s: %s", Path(paths[0]).parent, finding)


def _scores_of(
    estimator: DepthEstimator, path: str, inverse: np.ndarray, depth_path: str, alignment: str
) -> dict[str, dict[str, float]]:
    """The two rows of a photo. Raises `InputError` where it cannot be read or scored."""
    image, _ = _photo(path)
    if not same_aspect(inverse.shape, image.shape[:2]):
        cause = f"has shape {inverse.shape}, its photo {path} {image.shape[:2]}"
        raise InputError(depth_path, "", cause, "give the photo's own map")
    prior = np.broadcast_to(np.linspace(0, 1, inverse.shape[0])[:, None], inverse.shape)
    lower = map_scores(prior, inverse, alignment, str(depth_path))  # first: it needs no network to say what is wrong
    disparity = _disparity(estimator, image, str(path), alignment)
    return {
        "estimator": map_scores(resized_map(disparity, inverse.shape), inverse, alignment, str(depth_path)),
        PRIOR: lower,
    }


def _disparity(estimator: DepthEstimator, image: np.ndarray, path: str, alignment: str) -> np.ndarray:
    """Without a shift to fit, the inverse depth of an estimator that knows where zero is (a self-supervised one); min-max has moved it."""
    if alignment != "scale_shift" and hasattr(estimator, "inverse_depth"):
        return estimator.inverse_depth(image)
    return checked(estimator.disparity([image], [path])[0], image, path=path, estimator=name_of(estimator))


def mean_defined(values: list[float]) -> float:
    """Spearman is NaN for an image of constant depth; the others still count."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def map_scores(disparity: np.ndarray, inverse: np.ndarray, alignment: str, path: str) -> dict[str, float]:
    """The numbers of `depth_errors` over pixels nearer than `FARTHEST_M`, and "spearman" over all known ones, of two maps (H, W)."""
    known = np.isfinite(disparity) & np.isfinite(inverse)
    values, truth = disparity[known], inverse[known]
    near = truth > 1 / FARTHEST_M
    if not near.any():
        raise InputError(
            path, "", f"no measured pixel nearer than {FARTHEST_M:.0f} m", "check depth.maps.kind and depth.maps.zero"
        )
    depth_m = 1 / truth[near].astype(np.float64)
    return depth_errors(depth_m, aligned_depth(values[near], depth_m, alignment=alignment)) | {
        "spearman": rank_correlation(*_thinned(disparity, inverse, known))
    }


def _thinned(disparity: np.ndarray, inverse: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is ranked of large maps: every so many pixels along both axes, because sorting them all takes seconds."""
    step = max(1, int(np.sqrt(disparity.size / 100_000)))
    thin = known[::step, ::step]
    return disparity[::step, ::step][thin], inverse[::step, ::step][thin]


# depth run ------------------------------------------------------------------------------------------------------------


def run_depth(
    estimator: DepthEstimator,
    image_paths: Sequence[str],
    out_folder: str | Path,
    *,
    cache: DisparityCache | None = None,
) -> dict:
    """Writes <stem>.png (16 bits: 0 = not measured, 1..65535 = disparity 0..1) and preview/<stem>.jpg.

    `depth.source=maps:OUT depth.maps.kind=disparity depth.maps.zero=missing` reads the folder back.
    A photo that cannot be read, or whose map is unusable, is named in "skipped" and the rest goes on.
    """
    from PIL import Image

    _refuse_shared_stems(image_paths)
    out, cache = Path(out_folder), cache or DisparityCache(None)
    (out / "preview").mkdir(parents=True, exist_ok=True)
    counts, skipped = {"depth_inferences": 0, "cache_hits": 0}, []
    for path in _progress(list(image_paths), "depth run"):
        try:
            image, digest = _photo(path)
            (disparity,), hits, inferences = cache.get_or_infer([image], [digest], [str(path)], estimator)
        except InputError as error:
            skipped.append(str(error))
            continue
        counts["depth_inferences"] += inferences
        counts["cache_hits"] += hits
        Image.fromarray(_sixteen_bits(disparity)).save(out / f"{Path(path).stem}.png")
        Image.fromarray(preview(image, disparity)).save(out / "preview" / f"{Path(path).stem}.jpg", quality=90)
    for line in skipped:
        log.warning("%s", line)
    if skipped and len(skipped) == len(image_paths):
        raise InputError(out, "", f"no photo gave a map; the first: {skipped[0]}")
    return {"images": len(image_paths) - len(skipped), **counts, "skipped": skipped, "out": str(out)}


def _refuse_shared_stems(paths: Sequence[str]) -> None:
    owner: dict[str, str] = {}
    for path in paths:
        other = owner.setdefault(Path(path).stem, str(path))
        if other != str(path):
            raise InputError(
                path,
                "",
                f"has the same stem as {other}; both would be written to {Path(path).stem}.png",
                "run them into two folders",
            )


def _sixteen_bits(disparity: np.ndarray) -> np.ndarray:
    scaled = 1 + np.round(disparity.astype(np.float64) * 65534)
    return np.where(np.isnan(scaled), 0, scaled).astype(np.uint16)


def preview(image: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    values = resized_map(disparity.astype(np.float32), image.shape[:2])
    place = np.nan_to_num(values) * (len(_STOPS) - 1)
    colours = np.stack([np.interp(place, np.arange(len(_STOPS)), _STOPS[:, channel]) for channel in range(3)], axis=-1)
    colours[np.isnan(values)] = 128
    return np.concatenate([image, colours.astype(np.uint8)], axis=1)


def resized_map(disparity: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """Bilinear; nearest where pixels are unknown, so that they do not eat their neighbours."""
    from PIL import Image

    if disparity.shape == tuple(size_hw):
        return disparity
    how = Image.Resampling.NEAREST if np.isnan(disparity).any() else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(disparity.astype(np.float32)).resize((size_hw[1], size_hw[0]), how))


def _photo(path: str | Path) -> tuple[np.ndarray, str]:
    """RGB u8 (H, W, 3) as shown (EXIF applied), and the digest of the file, as in training."""
    import io

    from PIL import Image, ImageOps

    try:
        data = Path(path).read_bytes()
        rgb = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    # A damaged file makes Pillow raise whatever its parser stumbles over.
    except Exception as error:
        raise InputError(
            path, "", f"cannot be read as a photo ({type(error).__name__}: {error})", "remove it or save it again"
        ) from None
    return rgb, hashlib.blake2b(data, digest_size=16).hexdigest()


def _progress(items: list, what: str) -> Iterable:
    """On standard error, so that `--json` keeps standard output to itself."""
    from rich.console import Console
    from rich.progress import track

    return track(items, description=what, console=Console(stderr=True))

"""`depthbox depth run | evaluate | train`: disparity by itself."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import DepthConfig
from depthbox.stages.selecting import Root
from depthbox.train.builtin_run import BuiltinRun

__all__ = ["DepthEvaluate", "DepthRun", "DepthTrain", "command", "paired"]

MAPS = (".png", ".npy", ".tif", ".tiff")


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRun:
    """`images` below `data.root`; `out` is a folder."""

    images: str = ""
    out: str = ""
    depth: DepthConfig = DepthConfig()
    data: Root = Root()


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthEvaluate:
    """`depths` holds measured depth, one map a photo; `depth.maps` says what is in the files."""

    images: str = ""
    depths: str = ""
    alignment: str = "scale_shift"
    depth: DepthConfig = DepthConfig()
    data: Root = Root()


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthTrain(BuiltinRun):
    """The built-in network: `out` is a safetensors file."""

    out: str = ""


def command(arguments: argparse.Namespace) -> int:
    actions = {"run": _run, "evaluate": _evaluate, "train": _train}
    action = arguments.words[0] if arguments.words else ""
    if action not in actions:
        raise UsageError(f"{action or 'depth'}: which action? depthbox depth {{{'|'.join(actions)}}} path=value ...")
    result = actions[action](parse_overrides(arguments.words[1:]), as_json=arguments.json)
    if arguments.json:
        end_with_json(result)
    return 0


def paired(photos: Sequence[str], maps: Sequence[str]) -> list[tuple[str, str]]:
    """Photo and map of the same stem ("a.jpg" with "a.png" or "a.depth.png"), or frame_7 with depth_7; photos without a map are left out.

    Raises `InputError` where a photo has two maps, or none has one.
    """
    from depthbox.data.video_files import depth_of

    given, by_stem = set(maps), dict[str, list[str]]()
    for path in maps:
        by_stem.setdefault(Path(path).stem.removesuffix(".depth"), []).append(path)
    pairs = []
    for photo in photos:
        found = [path for path in by_stem.get(Path(photo).stem, []) if path != photo]
        found = found or [path for path in [depth_of(Path(photo))] if path in given]
        if len(found) > 1:
            cause = f"has more than one map: {', '.join(Path(path).name for path in found)}"
            raise InputError(photo, "", cause, "name the maps with a pattern, such as depths='DIR/*.png'")
        pairs += [(photo, path) for path in found]
    if not pairs:
        cause = f"no photo has a map of its stem; the first photo is {Path(photos[0]).name}"
        raise InputError(Path(maps[0]).parent, "", cause, "a map is named like its photo")
    return pairs


def _run(overrides: dict[str, str], *, as_json: bool) -> dict:
    asked = vary(DepthRun(), overrides)
    if not asked.out:
        raise UsageError("out= is needed: a folder for the maps and pictures")
    from depthbox.depth.cache import DisparityCache, default_cache_folder
    from depthbox.depth.quality import run_depth
    from depthbox.train.inputs import data_root, files_of

    photos = files_of(asked.images, data_root(asked.data.root), name="images")
    cache = DisparityCache(asked.depth.cache or default_cache_folder())
    result = run_depth(_estimator(asked.depth, asked.data), photos, asked.out, cache=cache)
    people = for_people(as_json=as_json)
    print(f"{result['images']} maps in {result['out']}, pictures in {Path(result['out']) / 'preview'}", file=people)
    print(f"depth_inferences {result['depth_inferences']}, cache_hits {result['cache_hits']}", file=people)
    return result


def _evaluate(overrides: dict[str, str], *, as_json: bool) -> dict:
    asked = vary(DepthEvaluate(), overrides)
    from depthbox.depth.quality import evaluate_depth
    from depthbox.report.table import console_table
    from depthbox.train.inputs import data_root, files_of

    root, maps = data_root(asked.data.root), asked.depth.maps
    photos = files_of(asked.images, root, name="images")
    pairs = paired(photos, files_of(asked.depths, root, name="depths", endings=MAPS))
    images, depths = ([pair[i] for pair in pairs] for i in (0, 1))
    estimator = _estimator(asked.depth, asked.data)
    result = evaluate_depth(estimator, images, depths, kind=maps.kind, zero=maps.zero, alignment=asked.alignment)
    rows = {asked.depth.source: result["estimator"], "lower is nearer": result["lower_is_nearer"]}
    people = for_people(as_json=as_json)
    console_table(["", *result["estimator"]], [[name, *row.values()] for name, row in rows.items()], file=people)
    without = len(photos) - len(pairs)
    counted = [f"{result['images']} photos"]
    counted += [f"{len(result['skipped'])} were not scored"] if result["skipped"] else []
    counted += [f"{without} more have no map"] if without else []
    print("; ".join(counted), file=people)
    return {**result, "without_map": without}


def _train(overrides: dict[str, str], *, as_json: bool) -> dict:
    asked = vary(DepthTrain(), overrides)
    if not asked.out.endswith(".safetensors"):
        raise UsageError("out=FILE.safetensors is needed")
    for name in ("scenes", "steps", "batch", "processes"):
        if getattr(asked, name) < 1:
            raise UsageError(f"{name}={getattr(asked, name)}: allowed are 1 and more")
    if min(asked.size_hw) < 64:
        raise UsageError(f"size_hw={asked.size_hw[0]},{asked.size_hw[1]}: a scene has 64 and more pixels a side")
    from depthbox.train.builtin_depth import train_builtin

    people, out = for_people(as_json=as_json), Path(asked.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    train_builtin(asked, out=out, progress=lambda line: print(line, file=people, flush=True))
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)", file=people)
    return {"out": str(out), "scenes": asked.scenes, "steps": asked.steps, "seed": asked.seed}


def _estimator(depth: DepthConfig, data: Root):
    from depthbox.depth.estimator import build_estimator
    from depthbox.train.inputs import data_root, depth_spec

    spec = depth_spec(depth.source, data_root(data.root))
    estimator = build_estimator(spec, device=depth.device, maps_kind=depth.maps.kind, maps_zero=depth.maps.zero)
    if estimator is None:
        raise UsageError("depth.source=none: there is nothing to run; name builtin, maps:DIR or hf:NAME_OR_FOLDER")
    return estimator

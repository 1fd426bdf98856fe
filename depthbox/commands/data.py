"""`depthbox data validate | summary | split`: what is in a data set, what is wrong with it, and a share of it drawn."""

import argparse
from dataclasses import dataclass

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.data_classes import is_semantic, of_classes
from depthbox.commands.split import draw
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.data.schema import CocoData
from depthbox.experiment import DataConfig, DepthConfig

__all__ = ["DataQuestion", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataQuestion:
    """`depth.source=maps:DIR` asks about the maps of the training photos too."""

    data: DataConfig = DataConfig()
    depth: DepthConfig = DepthConfig(source="none")


def command(arguments: argparse.Namespace) -> int:
    actions = {"validate": _validate, "summary": _summary}
    action = arguments.words[0] if arguments.words else ""
    if action == "split":
        return draw(arguments.words[1:], as_json=arguments.json)
    if action not in actions:
        raise UsageError(
            f"{action or 'data'}: which action? depthbox data {{{'|'.join(actions)}|split}} path=value ..."
        )
    overrides = parse_overrides(arguments.words[1:])
    if is_semantic(overrides):
        return of_classes(action, overrides, as_json=arguments.json)
    asked = vary(DataQuestion(), overrides)
    if not any((asked.data.train.annotations, asked.data.val.annotations)):
        raise UsageError(
            "which data? data.train.images= data.train.annotations=, or data.val.images= data.val.annotations="
        )
    return actions[action](asked, as_json=arguments.json)


def _validate(asked: DataQuestion, *, as_json: bool) -> int:
    from depthbox.data.validate import validate_data

    sets, findings = _read(asked.data)
    if sets:
        first, *more = sets.values()
        findings += validate_data(first, more[0] if more else None)
    if "train" in sets:
        findings += _of_maps(asked, sets["train"])
    people = for_people(as_json=as_json)
    for finding in findings:
        print(finding, file=people)
    images = {name: len(data.records) for name, data in sets.items()}
    counted = " and ".join(f"{count} images of {name}" for name, count in images.items()) or "nothing could be read"
    print(f"{counted}: {len(findings)} {'finding' if len(findings) == 1 else 'findings'}", file=people)
    if as_json:
        end_with_json({"ok": not findings, "images": images, "findings": findings})
    return 1 if findings else 0


def _summary(asked: DataQuestion, *, as_json: bool) -> int:
    from depthbox.data.validate import summary

    sets, faults = _read(asked.data)
    for data in sets.values():
        print(summary(data), file=for_people(as_json=as_json))
    if as_json:
        end_with_json({name: _numbers(data) for name, data in sets.items()} | {"findings": faults})
    for fault in faults:
        print(fault, file=for_people(as_json=True))
    return 1 if faults else 0


def _read(data: DataConfig) -> tuple[dict[str, CocoData], list[str]]:
    """What can be read of train and val, and why the rest cannot."""
    from depthbox.train.inputs import data_root, read_split

    sets, faults = {}, []
    for name, split in (("train", data.train), ("val", data.val)):
        if split.annotations or split.images:
            try:
                sets[name] = read_split(data_root(data.root), split, f"data.{name}", masks=True)
            except InputError as error:
                faults.append(str(error))
    if "train" in sets:
        faults += _with_lists(data, sets)
    return sets, faults


def _with_lists(data: DataConfig, sets: dict[str, CocoData]) -> list[str]:
    """What is wrong with the lists of labelled and boxed images; the photos without annotations are added to those of train."""
    from depthbox.data.splits import named_images
    from depthbox.train.inputs import data_root
    from depthbox.train.labels import with_unlabelled

    faults, root = [], data_root(data.root)
    for named in filter(None, (data.train.labelled, data.train.boxed)):
        try:
            named_images(named, root, sets["train"])
        except InputError as error:
            faults.append(str(error))
    try:
        sets["train"] = with_unlabelled(sets["train"], data, root)
    except InputError as error:
        faults.append(str(error))
    return faults


def _of_maps(asked: DataQuestion, train: CocoData) -> list[str]:
    from depthbox.data.validate_maps import validate_maps
    from depthbox.depth.estimator import build_estimator
    from depthbox.depth.maps import MapsDepth
    from depthbox.train.inputs import data_root, depth_spec

    maps, spec = asked.depth.maps, depth_spec(asked.depth.source, data_root(asked.data.root))
    try:
        estimator = build_estimator(spec, maps_kind=maps.kind, maps_zero=maps.zero)
    except InputError as error:
        return [str(error)]
    return validate_maps(train.records, estimator) if isinstance(estimator, MapsDepth) else []


def _numbers(data: CocoData) -> dict:
    objects = [int(label) for record in data.records for label in record.labels[~record.crowd]]
    classes = {name: objects.count(label) for label, name in enumerate(data.class_names)}
    return {
        "annotations": data.source,
        "images": len(data.records),
        "objects": len(objects),
        "masks": data.has_masks,
        "classes": classes,
    }

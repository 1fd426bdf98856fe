"""`depthbox label MODEL --boxes boxes.json --images DIR --out masks.json`: a mask for every box, and a page of the doubtful ones."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.chosen import Store, chosen_model, given
from depthbox.core.config import flatten, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.data.config import ViewsConfig
from depthbox.experiment import DepthConfig
from depthbox.inference.config import Matching, Review

__all__ = ["Labelling", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    boxes: str = ""
    images: str = ""
    out: str = ""
    matching: Matching = Matching()
    review: Review = Review()
    depth: DepthConfig = DepthConfig(source="none")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    views: ViewsConfig = ViewsConfig()
    tracking: Store = Store()


def command(arguments: argparse.Namespace) -> int:
    words, overrides = given(arguments, "boxes", "images", "out")
    asked = vary(Labelling(), overrides)
    if len(words) != 1 or not all((asked.boxes, asked.images, asked.out)):
        raise UsageError("depthbox label MODEL --boxes boxes.json --images DIR --out masks.json: all four are needed")
    if not asked.out.endswith(".json"):
        raise UsageError(f"--out {asked.out}: a file that ends in .json")
    match = asked.matching
    if min(match.box_cost, match.depth_cost) < 0 or match.box_cost + match.depth_cost > 1 or match.candidates < 1:
        raise UsageError(
            "matching.box_cost= and .depth_cost= are 0 and more, together at most 1; .candidates= is 1 and more"
        )
    result = _labelled(words[0], overrides)
    people = for_people(as_json=arguments.json)
    for row in result["quarantined"]:
        print(f"quarantined: {row['path']}: {row['reason']}", file=people)
    for line in result["notes"]:
        print(line, file=people)
    print(f"{result['masks']} masks, mean quality {result['quality']:.2f}: {result['out']}", file=people)
    print(f"{result['doubtful']} to look at: {result['review']}", file=people)
    if arguments.json:
        end_with_json(result)
    return 0


def _labelled(place: str, overrides: dict[str, str]) -> dict:
    from depthbox.data.coco import read_coco
    from depthbox.inference.label_job import label_boxes
    from depthbox.inference.places import local_folder
    from depthbox.inference.review import write_review

    asked = vary(Labelling(), overrides)
    images, _ = local_folder(asked.images)
    data = read_coco(Path(asked.boxes).expanduser(), images=images, masks=False)
    trained = chosen_model(place, asked.tracking)
    if trained.dense:
        cause = "gives every pixel a class, and a mask for a box needs a model that finds objects"
        raise InputError(place, "", cause, "give a run of box_depth, full, pl_dc or guided_distillation")
    assert isinstance(trained.views, ViewsConfig)
    asked = vary(Labelling(views=trained.views), overrides)
    unknown = [name for name in data.class_names if name not in trained.classes]
    out = Path(asked.out).expanduser().absolute()
    if out == Path(data.source).absolute():
        raise UsageError(f"--out {asked.out}: is the file of the boxes; give another")
    if not any((~record.crowd).any() for record in data.records):
        raise InputError(data.source, "", "holds no box outside crowds", "give at least one box")
    labels = label_boxes(data, out, _labeller(trained, asked, data, out, Path(images)), job=_job(trained, data, asked))
    page, doubtful = write_review(labels, data, asked.review)
    notes = [f"the model knows no class {', '.join(unknown)}: boxes alone choose these masks"] if unknown else []
    notes += [f"{labels.without_depth} photos were labelled without depth"] if labels.without_depth else []
    made = [one["attributes"]["quality"] for one in labels.coco["annotations"] if not one.get("iscrowd")]
    return {
        "model": place,
        "masks": labels.masks,
        "photos_done_before": labels.done_before,
        "quality": sum(made) / max(len(made), 1),
        "doubtful": doubtful,
        "review": str(page),
        "rows_quarantined": len(labels.quarantined),
        "quarantined": labels.quarantined,
        "notes": notes,
        "out": str(out),
    }


def _labeller(trained, asked: Labelling, data, out: Path, images: Path):
    from depthbox.depth.cache import DisparityCache, default_cache_folder
    from depthbox.depth.estimator import build_estimator
    from depthbox.inference.label_job import Labeller
    from depthbox.inference.predictor import InstancePredictor, predictor_of
    from depthbox.train.inputs import depth_spec

    depth, maps = asked.depth, asked.depth.maps
    spec = depth_spec(depth.source, images)
    estimator = build_estimator(spec, device=depth.device, maps_kind=maps.kind, maps_zero=maps.zero)
    predictor = predictor_of(trained, device=asked.device, precision=asked.precision, views=asked.views)
    assert isinstance(predictor, InstancePredictor)
    return Labeller(
        predictor=predictor,
        matching=asked.matching if estimator is not None else replace(asked.matching, depth_cost=0.0),
        labels=tuple(trained.classes.index(n) if n in trained.classes else -1 for n in data.class_names),
        estimator=estimator,
        cache=DisparityCache(depth.cache or default_cache_folder()),
        guard_folder=str(out.with_name(f".{out.stem}.decoding")),
    )


def _job(trained, data, asked: Labelling) -> dict:
    """What a journal must agree in to be gone on with."""
    deciding = ("matching.", "depth.source", "depth.maps.", "precision", "views.short_side", "views.max_side")
    settings = {name: value for name, value in flatten(asked).items() if name.startswith(deciding)}
    return {"model": trained.digest[:16], "boxes": data.digest[:16], **settings}

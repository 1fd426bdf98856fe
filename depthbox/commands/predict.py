"""`depthbox predict MODEL PHOTOS... --out DIR`: what a model sees in photos. No depth is needed."""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.chosen import Store, chosen_model, given, refuse_unused
from depthbox.core.config import flatten, vary
from depthbox.core.errors import UsageError
from depthbox.data.config import SemanticViewsConfig, ViewsConfig
from depthbox.inference.config import RayShare
from depthbox.models.config import InferenceConfig

__all__ = ["Prediction", "command"]

DECIDING = {"precision", "views.short_side", "views.max_side"}
"""What changes what is found, not only where or how fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Of objects: `score` is the least a detection must have; `mask_nms` the mask IoU above which the worse of two objects of a class goes (none: off).

    Of a class for every pixel: `window` is the side of the overlapping squares that the network sees a photo through (0: whole).
    """

    out: str = ""
    score: float = 0.3
    mask_nms: float | None = None
    window: int = 0
    overlays: bool = True
    batch_size: int = 8
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    views: ViewsConfig | SemanticViewsConfig = ViewsConfig()
    inference: InferenceConfig = InferenceConfig()
    tracking: Store = Store()
    ray: RayShare = RayShare()


def command(arguments: argparse.Namespace) -> int:
    words, overrides = given(arguments, "out")
    asked = vary(Prediction(), overrides)
    if len(words) < 2 or not asked.out:
        raise UsageError("which model and photos? depthbox predict RUN_OR_FOLDER PHOTOS... --out DIR")
    if asked.window % 32 or asked.window < 0:
        raise UsageError(f"window={asked.window}: takes a multiple of 32; 0 for the whole photo")
    if not 0 <= asked.score <= 1 or asked.batch_size < 1 or asked.ray.actors < 1 or asked.ray.actor_cpus <= 0:
        raise UsageError("score= takes 0 to 1; batch_size=, ray.actors= and ray.actor_cpus= are above 0")
    result = _predicted(words[0], words[1:], overrides, on_ray=arguments.ray)
    people = for_people(as_json=arguments.json)
    for row in result["quarantined"]:
        print(f"quarantined: {row['path']}: {row['reason']}", file=people)
    before = f" ({result['photos_done_before']} were done before)" if result["photos_done_before"] else ""
    if "objects" in result:
        said = f"{result['objects']} objects in {result['photos']} photos"
    else:
        most = sorted(result["shares"].items(), key=lambda one: -one[1])[:5]
        said = f"{result['label_maps']} label maps ({', '.join(f'{name} {share:.0%}' for name, share in most)})"
    print(f"{said}{before}: {result['out']}", file=people)
    if arguments.json:
        end_with_json(result)
    return 0


def _predicted(place: str, words: list[str], overrides: dict[str, str], *, on_ray: bool) -> dict:
    from depthbox.inference.photos import PhotoWork, answers
    from depthbox.inference.places import found_photos
    from depthbox.inference.predict_job import predict_photos
    from depthbox.inference.predictor import predictor_of

    trained = chosen_model(place, vary(Prediction(), overrides).tracking)
    refuse_unused(trained, overrides)
    asked = vary(Prediction(views=trained.views, inference=trained.inference), overrides)
    asked = replace(asked, inference=replace(asked.inference, min_score=asked.score))
    there, out = found_photos(words), Path(asked.out).absolute()
    work = PhotoWork(
        category_ids=trained.category_ids,
        colours=trained.colours,
        guard_folder=str(out / "decoding"),
        mask_nms=asked.mask_nms,
        overlays=asked.overlays,
    )
    how = {
        "device": asked.device,
        "precision": asked.precision,
        "views": asked.views,
        "inference": asked.inference,
        "window": asked.window,
    }
    if on_ray:
        from depthbox.inference.ray_photos import Pool, answers_on_ray
        from depthbox.train.ray_launch import start_ray

        start_ray(asked.ray.address)
        gpus = 1.0 if asked.device == "cuda" else 0.0
        share = {"actors": asked.ray.actors, "cpus": asked.ray.actor_cpus, "gpus": gpus, "copies": there.copies}
        run = partial(
            answers_on_ray, work=work, trained=trained, pool=Pool(**share, **how), batch_size=asked.batch_size
        )
    else:
        run = partial(answers, work=work, predictor=predictor_of(trained, **how), batch_size=asked.batch_size)
    deciding = DECIDING | ({"window"} if trained.dense else {"mask_nms", "inference"})
    settings = {path: value for path, value in flatten(asked).items() if deciding & {path, path.partition(".")[0]}}
    job = {"model": trained.digest[:16], **settings}
    return {"model": place, **predict_photos(trained, there.photos, out, run, job=job)}

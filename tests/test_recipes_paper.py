"""`preset=paper` has the numbers that the papers have, and every one of them is a run that could start."""

import pytest
import torch

from depthbox.commands.train import resolved
from depthbox.core.config import flatten, vary
from depthbox.core.errors import UsageError
from depthbox.experiment import name_of
from depthbox.recipes import RECIPES, recipe
from depthbox.recipes_paper import PAPERS, paper
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.refused import check_method, check_ssda
from depthbox.train.optimizer import build_optimizer, learning_rate
from depthbox.train.state import initial_model

PUBLISHED = {
    "box_depth": {
        "model.backbone": "resnet50", "model.channels": 256, "model.head_depth": 4, "model.mask_width": 128,
        "model.mask_feature_stride": 8, "model.mask_head": "depth_guided", "data.views.short_side": 800,
        "data.views.max_side": 1333, "data.views.scale": (0.8, 1.0), "schedule.optimizer": "sgd",
        "schedule.learning_rate": 0.01, "schedule.steps": 90_000, "schedule.decay": "steps", "batch_size": 16,
        "method.warm_up": 10_000 / 90_000, "method.weights.box_prior": 0.0, "method.weights.depth_affinity": 1.0,
        "method.weights.depth_relief": 0.0, "method.distillation.keep": 0.999, "method.distillation.box_cost": 0.1,
        "method.distillation.depth_cost": 0.3, "method.distillation.threshold": 0.5, "method.distillation.depth_cost_falls": True,
        "method.distillation.form": "B", "method.distillation.all_detections": True, "method.distillation.matching": "depth_aware",
        "method.depth_form": "difference", "method.depth_theta": 2.0, "method.depth_threshold": 0.5, "method.color_threshold": 0.3,
        "method.dilation": 2, "method.depth_inside_only": False, "method.masks_per_image": 64,
        **{f"method.weights.{name}": 1.0 for name in ("projection", "color_affinity", "instance_depth", "pseudo_mask")},
    },
    "full": {"model.backbone": "resnet50", "model.mask_head": "condinst", "schedule.steps": 90_000, "method.weights.mask_bce": 0.0},
    "pl_dc": {
        "model.head": "query", "model.query.queries": 100, "model.query.layers": 9, "model.query.width": 2048, "model.query.start": "learned",
        "model.query.deformable": 6, "method.query.points.number": 12_544, "schedule.optimizer": "adamw",
        "schedule.learning_rate": 1e-4, "schedule.weight_decay": 1e-4, "schedule.clip_norm": 0.01,
        "schedule.steps": 368_750, "method.burn_in": 20_000 / 368_750, "method.keep": 0.9996, "batch_size": 16,
        "data.labelled_share": 0.5, "method.class_threshold": 0.85, "method.mask_threshold": 0.9, "method.min_pixels": 5,
        "method.category_weight": 0.5, "method.adapt_on": "off", "method.adapt_keep": 0.9996, "method.kept_by": "two", "method.uncertainty": True,
        "method.query.cost_class": 2.0, "method.query.cost_bce": 5.0, "method.query.cost_dice": 5.0, "method.query.no_object": 0.1,
        "method.query.points.oversample": 3.0, "method.query.points.uncertain": 0.75,
        **{f"method.weights.{of}": w for of, w in zip(
            ("query_class", "query_bce", "query_dice", "pseudo_class", "pseudo_mask_bce", "pseudo_mask_dice"), (2.0, 5.0, 5.0) * 2, strict=True
        )},
        "data.views.jitter": 0.4, "data.views.grey": 0.2, "data.views.blur": 0.5, "data.views.erase": 1.0,
    },
    "guided_distillation": {
        "method.kept_by": "class", "method.class_threshold": 0.7, "method.weights.pseudo_class": 4.0, "method.keep": 0.9996,
        "method.weights.pseudo_mask_bce": 10.0, "method.weights.pseudo_mask_dice": 10.0, "method.uncertainty": False, "method.category": "off",
        "method.query.points.number": 12_544, "schedule.steps": 368_750,
    },
    "depth_ssda": {
        "model.backbone": "resnet101", "model.dilated": True, "model.context": "aspp", "schedule.optimizer": "sgd",
        "schedule.learning_rate": 1e-2, "schedule.backbone_factor": 0.1, "schedule.steps": 40_000, "schedule.decay_at": (0.75,),
        "batch_size": 4, "data.labelled_share": 0.5, "data.views.crop": 512, "method.keep": 0.99, "method.confidence": 0.968,
    },
    "sde": {
        "model.backbone": "resnet101", "model.dilated": True, "model.context": "aspp", "model.pose_backbone": "resnet18",
        "schedule.learning_rate": 1e-4, "schedule.weight_decay": 0.0, "schedule.steps": 300_000, "method.aligned_from": 1.0,
        "method.weights.still_far": 0.0, "method.weights.motion": 0.0, "method.weights.lower_near": 0.0, "method.scale_free": False, "method.scales": 4,
        "method.nearest": 0.1, "method.farthest": 100.0,
    },
}  # fmt: skip


def test_there_is_a_preset_for_every_method():
    assert PAPERS.keys() == RECIPES.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("method", PUBLISHED)
def test_a_preset_has_the_numbers_of_its_paper(method):
    flat = flatten(paper(method))
    assert {name: flat[name] for name in PUBLISHED[method]} == PUBLISHED[method]
    assert name_of(paper(method)) != name_of(recipe(method))
    assert type(paper(method).method) is type(recipe(method).method)


@pytest.mark.parametrize("method", PUBLISHED)
def test_a_preset_is_a_run_that_could_start(method):
    without = {"model.weights": "none"} | ({"model.pose_weights": "none"} if method == "sde" else {})
    experiment = vary(paper(method), without)
    # No memory and no time: shapes alone.
    with torch.device("meta"):
        model = initial_model(experiment, classes=tuple("abcdefgh"))
    assert build_optimizer(model, experiment.schedule).param_groups
    depth = experiment.depth.source != "none"
    if isinstance(experiment.method, DepthSsdaConfig):
        check_ssda(experiment.method, depth=depth, source=False, multi_task=False)
    else:
        words = ("masks", "none") if "pl" in method or "guided" in method else ()
        given = experiment.model
        heads = {"mask_head": getattr(given, "mask_head", ""), "head": getattr(given, "head", "dynamic")}
        check_method(experiment.method, depth=depth, words=words, **heads)


def test_the_rate_drops_where_the_papers_drop_it():
    for method, at in (("box_depth", (60_000, 80_000)), ("depth_ssda", (30_000,)), ("sde", (160_000,))):
        rate = learning_rate(paper(method).schedule)
        for n, step in enumerate(at):
            assert (rate(step - 1), rate(step)) == (pytest.approx(0.1**n), pytest.approx(0.1 ** (n + 1))), method


def test_the_command_line_takes_a_preset_and_changes_it():
    experiment = resolved("box_depth", ["preset=paper", "depth.source=builtin", "schedule.steps=270000", "out=o"])
    assert experiment == vary(paper("box_depth"), {"depth.source": "builtin", "schedule.steps": 270_000, "out": "o"})
    assert resolved("box_depth", ["preset=paper"]).out.startswith("out/box_depth-")
    with pytest.raises(UsageError, match=r"preset=tiny: allowed is paper"):
        resolved("box_depth", ["preset=tiny"])
    with pytest.raises(UsageError, match="'preset' is given twice"):
        resolved("box_depth", ["preset=paper", "preset=paper"])
    with pytest.raises(UsageError, match="unknown method 'box'"):
        resolved("box", ["preset=paper"])

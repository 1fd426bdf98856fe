"""Settings of `box_depth` that could have no effect or make no sense are refused by name, before a run."""

import math

import pytest

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.recipes_paper import paper
from depthbox.supervision.config import BoxDepthConfig
from depthbox.supervision.refused import check_method


@pytest.mark.parametrize(
    "path, value",
    [
        ("depth_form", "plane"), ("depth_veto", 8.0), ("weights.depth_relief", 1.0), ("distillation.form", "A"),
        ("distillation.depth_cost", 0.0), ("distillation.depth_cost_falls", False),
    ],
)  # fmt: skip
def test_a_setting_of_depth_without_disparity_is_refused(path, value):
    config = vary(BoxDepthConfig(), {path: value})
    check_method(config, depth=True, mask_head="condinst")
    with pytest.raises(UsageError, match=rf"method\.{path}=.* has no effect without disparity"):
        check_method(config, depth=False, mask_head="condinst")


@pytest.mark.parametrize(
    "path, values",
    {
        "depth_theta": (0.0, -1.0, math.nan), "color_threshold": (0.0, 1.5), "depth_threshold": (0.0, 1.01),
        "warm_up": (-0.1,), "masks_per_image": (0,), "prior_size": (0.0,), "color_veto": (-1.0,), "depth_veto": (-1.0, math.inf),
        "distillation.keep": (1.0, -0.1), "distillation.start": (-0.1,), "distillation.box_cost": (-0.1,),
        "distillation.depth_cost": (-0.1, 1.5), "weights.projection": (-1.0,), "weights.pseudo_mask": (math.nan,),
    }.items(),
)  # fmt: skip
def test_a_number_that_makes_no_sense_is_refused_by_its_name(path, values):
    for value in values:
        config = vary(BoxDepthConfig(), {path: value})
        with pytest.raises(UsageError, match=rf"^method\.{path}={value}: allowed is "):
            check_method(config, depth=True, mask_head="condinst")


def test_the_costs_of_the_matching_leave_a_share_to_the_score():
    costs = {"distillation.box_cost": 0.5, "distillation.depth_cost": 0.6}
    with pytest.raises(UsageError, match=r"box_cost=0\.5 and depth_cost=0\.6: together at most 1"):
        check_method(vary(BoxDepthConfig(), costs), depth=True, mask_head="condinst")
    published = {"distillation.box_cost": 0.1, "distillation.depth_cost": 0.9}
    check_method(vary(BoxDepthConfig(), published), depth=True, mask_head="condinst")


def test_a_share_of_the_relief_without_a_term_of_relief_is_refused_and_one_of_all_of_it_too():
    cut = vary(BoxDepthConfig(), {"relief_share": 0.2})
    with pytest.raises(UsageError, match="relief_share=0.2 has no effect without method.weights.depth_relief"):
        check_method(cut, depth=True, mask_head="condinst")
    check_method(vary(cut, {"weights.relief_bce": 1.0}), depth=True, mask_head="condinst")
    with pytest.raises(UsageError, match="method.relief_share"):
        check_method(vary(cut, {"weights.relief_bce": 1.0, "relief_share": 1.0}), depth=True, mask_head="condinst")


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            {"distillation.start": 1.0, "distillation.confidence": True},
            r"distillation\.confidence=True needs a teacher",
        ),
        ({"distillation.start": 1.0, "weights.pseudo_mask": 3.0}, r"weights\.pseudo_mask=3\.0 needs a teacher"),
        ({"distillation.start": 1.0, "weights.mask_affinity": 0.1}, r"weights\.mask_affinity=0\.1 needs a teacher"),
        (
            {"distillation.matching": "greedy", "distillation.threshold": 0.9},
            r"distillation\.threshold=0\.9 is of method",
        ),
        ({"distillation.matching": "greedy", "distillation.form": "A"}, r"distillation\.form=A is of method"),
        ({"weights.instance_depth": 5.0}, r"weights\.instance_depth=5\.0 .* set model\.mask_head=depth_guided"),
    ],
)
def test_a_setting_that_nobody_reads_is_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        check_method(vary(BoxDepthConfig(), settings), depth=True, mask_head="condinst")


def test_a_preset_without_its_teacher_is_a_run():
    check_method(vary(paper("box_depth").method, {"distillation.start": 1.0}), depth=True, mask_head="depth_guided")


def test_the_depth_of_a_mask_is_of_the_depth_guided_head():
    check_method(vary(BoxDepthConfig(), {"weights.instance_depth": 5.0}), depth=True, mask_head="depth_guided")

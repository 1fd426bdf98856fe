"""Settings of `pl_dc`, and of the heads it shares with others, that could have no effect are refused in words."""

import pytest

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.supervision.config import BoxDepthConfig, FullConfig, PlDcConfig
from depthbox.supervision.refused import check_method, check_picked

KINDS = ("masks", "boxes", "none")


@pytest.mark.parametrize(
    ("config", "head", "said"),
    [
        (BoxDepthConfig(), "query", "model.head=dynamic"),
        (vary(PlDcConfig(), {"depth_form": "B"}), "query", "set depth.source"),
        (vary(PlDcConfig(), {"depth_refine": True}), "query", "method.depth_refine .* set depth.source"),
        (vary(PlDcConfig(), {"category": "open_clip"}), "query", r"method\.clip\.weights=FILE"),
        (vary(PlDcConfig(), {"kept_by": "class", "adapt_on": "all"}), "query", "method.kept_by=two"),
        (vary(PlDcConfig(), {"pseudo_no_object": -0.1}), "query", "a weight, at least 0"),
        (vary(PlDcConfig(), {"pseudo_nms_iou": 0.0}), "query", "above 0 and at most 1"),
        (vary(PlDcConfig(), {"lowest": "0.5,0.5"}), "query", r"method\.lowest=.* has no effect; set method\.adapt_on"),
        (vary(PlDcConfig(), {"adapt_on": "counts", "floors": "0.5,0.5"}), "query", "set method.adapt_on=all or kept"),
        (vary(PlDcConfig(), {"category": "off", "category_weight": 0.3}), "query", "set method.category"),
        (vary(PlDcConfig(), {"clip.model": "ViT-L-14"}), "query", "set method.category=open_clip"),
        (vary(PlDcConfig(), {"depth_threshold": 0.3}), "query", "set method.depth_form"),
        (
            vary(PlDcConfig(), {"weights.projection": 2.0}),
            "query",
            r"method\.weights\.projection=2\.0 has no effect without images that have",
        ),
        (vary(PlDcConfig(), {"boxed.dilation": 1}), "query", r"method\.boxed\.dilation=1 has no effect without images"),
        (vary(PlDcConfig(), {"weights.pseudo_depth_affinity": 1.0}), "query", "without disparity"),
        (vary(BoxDepthConfig(), {"weights.mask_bce": 2.0}), "dynamic", "has no effect where no image has masks"),
        (vary(FullConfig(), {"weights.mask_bce": 2.0}), "query", "see method.query"),
        (
            vary(PlDcConfig(), {"adapt_on": "all", "class_threshold": 0.35}),
            "dynamic",
            r"method\.lowest\[0\]=0\.6 is above method\.class_threshold=0\.35; set it lower",
        ),
        (
            vary(PlDcConfig(), {"adapt_on": "all", "class_threshold": 0.35, "lowest": (0.2, 0.7)}),
            "dynamic",
            r"method\.floors\[0\].*set it lower",
        ),
        (
            vary(PlDcConfig(), {"adapt_on": "kept", "mask_threshold": 0.7}),
            "query",
            r"method\.lowest\[1\]=0\.75 is above method\.mask_threshold=0\.7",
        ),
        (vary(FullConfig(), {"query.no_object": 0.2}), "dynamic", "of model.head=query"),
    ],
)
def test_a_setting_without_effect_is_refused(config, head, said):
    with pytest.raises(UsageError, match=said):
        check_method(config, depth=False, mask_head="condinst", head=head)


def test_the_scale_of_a_step_is_of_s_dmatch_alone():
    config = vary(PlDcConfig(), {"depth_form": "relief", "depth_theta": 3.0, "pseudo_nms_iou": 0.7})
    with pytest.raises(UsageError, match=r"method\.depth_theta=3\.0 has no effect; set method\.depth_form=A or B"):
        check_method(config, depth=True, mask_head="condinst", head="query")


@pytest.mark.parametrize("settings", [{"depth_form": "relief"}, {"depth_refine": True}])
def test_the_relief_needs_masks_without_doubles(settings):
    with pytest.raises(UsageError, match=r"set method\.pseudo_nms_iou=0\.7"):
        check_method(vary(PlDcConfig(), settings), depth=True, mask_head="condinst", head="query")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"burn_in": float("nan")}, r"method\.burn_in=nan: allowed is from 0 to 1"),
        ({"burn_in": -0.5}, "from 0 to 1"),
        ({"keep": 1.5}, r"method\.keep=1\.5: allowed is from 0 to below 1"),
        ({"class_threshold": float("nan")}, "from 0 to 1"),
        ({"mask_threshold": 2.0}, "from 0 to 1"),
        ({"adapt_on": "all", "adapt_keep": 3.0}, "from 0 to 1"),
        ({"adapt_on": "all", "floors": (0.5, 1.0)}, "two numbers"),
        ({"category": "open_clip", "clip.weights": "a.pt", "clip.descriptions": ()}, "texts with {} for the name"),
        (
            {"category": "open_clip", "clip.weights": "a.pt", "clip.descriptions": ("a photo",)},
            "=a photo: allowed are texts",
        ),
        ({"query.points.number": 0}, r"method\.query\.points\.number=0: allowed is a whole number of at least 1"),
        ({"query.points.uncertain": 2.0}, "from 0 to 1"),
        ({"query.points.oversample": 0.5}, "at least 1"),
        ({"query.no_object": -1.0}, "at least 0"),
        ({"weights.pseudo_class": -1.0}, r"method\.weights\.pseudo_class=-1\.0"),
        ({"weights.query_bce": float("nan")}, "a number of at least 0"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(settings, said):
    with pytest.raises(UsageError, match=said):
        check_method(vary(PlDcConfig(), settings), depth=False, mask_head="condinst", head="query")
    of_head = {name: value for name, value in settings.items() if name.startswith("query.")}
    if of_head:
        with pytest.raises(UsageError, match=said):
            check_method(vary(FullConfig(), of_head), depth=False, mask_head="condinst", head="query")


def test_what_has_no_effect_without_boxes_or_disparity_has_one_with_them():
    for settings in ({"weights.projection": 2.0}, {"boxed.dilation": 1}, {"weights.depth_affinity": 1.0}):
        check_method(vary(PlDcConfig(), settings), depth=True, mask_head="condinst", head="query", words=KINDS)
    affine = vary(PlDcConfig(), {"weights.pseudo_color_affinity": 1.0, "boxed.dilation": 1})
    check_method(affine, depth=False, mask_head="condinst", head="query")
    with pytest.raises(UsageError, match=r"method\.weights\.depth_affinity=1\.0 has no effect without disparity"):
        deep = vary(PlDcConfig(), {"weights.depth_affinity": 1.0})
        check_method(deep, depth=False, mask_head="condinst", head="query", words=KINDS)


@pytest.mark.parametrize(
    "config, said",
    [
        (vary(PlDcConfig(), {"weights.query_start": 1.0}), r"method\.weights\.query_start=1\.0"),
        (vary(PlDcConfig(), {"weights.pseudo_start": 1.0}), r"method\.weights\.pseudo_start=1\.0"),
        (vary(PlDcConfig(), {"query.cost_outside": 1.0}), r"method\.query\.cost_outside=1\.0"),
        (vary(FullConfig(), {"query_weights.query_start": 1.0}), r"method\.query_weights\.query_start=1\.0"),
        (vary(FullConfig(), {"query.cost_outside": 1.0}), r"method\.query\.cost_outside=1\.0"),
    ],
)
def test_where_queries_are_picked_is_of_picked_queries(config, said):
    check_picked(config, "picked")
    with pytest.raises(UsageError, match=said + r" .*set model\.query\.start=picked"):
        check_picked(config, "learned")

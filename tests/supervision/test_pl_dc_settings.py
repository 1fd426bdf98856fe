"""Settings of `pl_dc`, and of the heads it shares with others, that could have no effect are refused in words."""

import pytest

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.supervision.build import check_method
from depthbox.supervision.config import BoxDepthConfig, FullConfig, PlDcConfig

KINDS = ("masks", "boxes", "none")


@pytest.mark.parametrize(
    ("config", "head", "said"),
    [
        (PlDcConfig(), "dynamic", "model.head=query"),
        (BoxDepthConfig(), "query", "model.head=dynamic"),
        (vary(PlDcConfig(), {"depth_form": "B"}), "query", "set depth.source"),
        (vary(PlDcConfig(), {"category": "open_clip"}), "query", r"method\.clip\.weights=FILE"),
        (vary(PlDcConfig(), {"kept_by": "class", "adapt_on": "all"}), "query", "method.kept_by=two"),
        (vary(PlDcConfig(), {"pseudo_no_object": -0.1}), "query", "a weight, at least 0"),
        (vary(PlDcConfig(), {"pseudo_nms_iou": 0.0}), "query", "above 0 and at most 1"),
        (vary(PlDcConfig(), {"lowest": "0.5,0.5"}), "query", r"method\.lowest=.* has no effect; set method\.adapt_on"),
        (
            vary(PlDcConfig(), {"weights.projection": 2.0}),
            "query",
            r"method\.weights\.projection=2\.0 has no effect without images that have",
        ),
        (vary(PlDcConfig(), {"boxed.dilation": 1}), "query", r"method\.boxed\.dilation=1 has no effect without images"),
        (vary(PlDcConfig(), {"weights.pseudo_depth_affinity": 1.0}), "query", "without disparity"),
        (vary(BoxDepthConfig(), {"weights.mask_bce": 2.0}), "dynamic", "has no effect where no image has masks"),
        (vary(FullConfig(), {"weights.mask_bce": 2.0}), "query", "see method.query"),
        (vary(FullConfig(), {"query.no_object": 0.2}), "dynamic", "of model.head=query"),
    ],
)
def test_a_setting_without_effect_is_refused(config, head, said):
    with pytest.raises(UsageError, match=said):
        check_method(config, depth=False, mask_head="condinst", head=head)


def test_what_has_no_effect_without_boxes_or_disparity_has_one_with_them():
    for settings in ({"weights.projection": 2.0}, {"boxed.dilation": 1}, {"weights.depth_affinity": 1.0}):
        check_method(vary(PlDcConfig(), settings), depth=True, mask_head="condinst", head="query", words=KINDS)
    affine = vary(PlDcConfig(), {"weights.pseudo_color_affinity": 1.0, "boxed.dilation": 1})
    check_method(affine, depth=False, mask_head="condinst", head="query")
    with pytest.raises(UsageError, match=r"method\.weights\.depth_affinity=1\.0 has no effect without disparity"):
        deep = vary(PlDcConfig(), {"weights.depth_affinity": 1.0})
        check_method(deep, depth=False, mask_head="condinst", head="query", words=KINDS)

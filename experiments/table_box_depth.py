"""Which term turns boxes into masks, and does depth earn its place? Camouflaged scenes with exact depth, boxes only.

Expected: colour misleads where an object looks like its background, depth separates; the full system closes half of the gap between the BoxInst terms and
full masks with exact disparity, a third with estimated, a quarter with disturbed. Cost: about 11 minutes a cell on one core with bfloat16.

    uv run depthbox ablate experiments/table_box_depth.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

With an ImageNet backbone `full` is strong (mask AP 0.37); from the built-in depth network's encoder it is not (0.07 after 400 steps), and a weak
denominator is no retention.
"""

from depthbox.core.config import vary
from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation
from depthbox.supervision.config import FullConfig

WORKING_POINT = {
    "data.train.images": "train",
    "data.train.annotations": "annotations/boxes_train.json",
    "data.val.images": "val",
    "data.val.annotations": "annotations/instances_val.json",
    "data.views.short_side": 192,
    "data.views.max_side": 256,
    "data.views.scale": (0.8, 1.2),
    "depth.maps.kind": "depth_mm",
    "depth.maps.zero": "far",
    "model.weights": "builtin",
    "schedule.steps": 800,
    "launcher": "local",
}
"""Mask features at stride 4 of native resolution: at stride 8 full masks are hardly better than boxes, so nothing can show."""

EXACT, ESTIMATED = {"depth.source": "maps:depth/train"}, {"depth.source": "builtin"}
DISTURBED = EXACT | {
    "depth.disturb.blur": 2.0,
    "depth.disturb.noise": 0.02,
    "depth.disturb.scale": 2.0,
    "depth.disturb.levels": 256,
}
NO_DEPTH = {"depth.source": "none"}
PAPER = {"method.weights.depth_affinity": 1.0}
"""The weights of the paper; the recipe's are lower because its disparity is."""

NO_TEACHER, TEACHER = {"method.distillation.start": 1.0}, {"method.distillation.start": 2 / 3}
GUIDED = {"model.mask_head": "depth_guided"}
NO_DEPTH_COST = {"method.distillation.depth_cost": 0.0}
SYSTEM = PAPER | TEACHER | GUIDED
NEAR = {"method.dilation": 1, "method.depth_form": "plane", "method.depth_veto": 8.0}
"""At native resolution two cells are 8 pixels, a third of many an object; next neighbours are twice as often right (experiments/LOG.md)."""

RELIEF = {"method.weights.depth_relief": 1.0}
"""Ours: what stands out of the surface around each box, as a pseudo mask from depth alone."""

RELIEF_AS_MASKS = (
    TEACHER
    | RELIEF
    | {
        "method.weights.relief_bce": 1.0,
        "method.weights.color_affinity": 0.0,
        "method.weights.depth_affinity": 0.0,
    }
)
"""Dice and BCE as "fully supervised" has them, with what stands out in place of drawn masks; projection and teacher stay, no affinity disagrees."""

CUT = {"method.relief_share": 0.2}
"""A cell stands out only with a fifth of what the highest cell next to it does: against the foot of a blurred step."""

BOX_TEACHER = NO_DEPTH | {
    "method.distillation.matching": "greedy",
    "method.distillation.confidence": True,
    "method.distillation.binary": True,
    "method.weights.pseudo_mask": 0.5,
    "method.weights.mask_affinity": 0.1,
}
"""With the teacher in the last third, as the system has it; BoxTeacher's is there from the first step."""

TABLE = Ablation(
    base=vary(box_depth(), WORKING_POINT),
    rows={
        "colour and box prior": NO_DEPTH | NO_TEACHER,
        "fully supervised": NO_DEPTH
        | {"method": FullConfig(), "data.train.annotations": "annotations/instances_train.json"},
        "system, exact": EXACT | SYSTEM,
        "system, estimated": ESTIMATED | SYSTEM,
        "system, disturbed": DISTURBED | SYSTEM,
        "colour alone (BoxInst)": NO_DEPTH | NO_TEACHER | {"method.weights.box_prior": 0.0},
        "projection": NO_DEPTH | NO_TEACHER | {"method.weights.color_affinity": 0.0},
        "+ depth affinity, exact": EXACT | PAPER | NO_TEACHER,
        "+ plane-aware affinity, exact": EXACT | PAPER | NO_TEACHER | {"method.depth_form": "plane"},
        "+ DG head and instance depth, exact": EXACT | PAPER | NO_TEACHER | GUIDED,
        "+ distillation, exact": EXACT | SYSTEM | NO_DEPTH_COST,
        "averaging alone, exact": EXACT | SYSTEM | {"method.weights.pseudo_mask": 0.0},
        "BoxTeacher-like, no depth": BOX_TEACHER,
        "colour vetoed by depth, exact": EXACT | PAPER | NO_TEACHER | {"method.depth_veto": 8.0},
        "system, plane-aware among next neighbours, exact": EXACT | SYSTEM | NEAR,
        "system and relief, exact": EXACT | SYSTEM | RELIEF,
        "system and relief twice, no colour, exact": EXACT
        | SYSTEM
        | {"method.weights.depth_relief": 2.0, "method.weights.color_affinity": 0.0},
        "system and relief, estimated": ESTIMATED | SYSTEM | RELIEF,
        "system and relief, disturbed": DISTURBED | SYSTEM | RELIEF,
        "relief as masks, exact": EXACT | RELIEF_AS_MASKS,
        "relief as masks, estimated": ESTIMATED | RELIEF_AS_MASKS,
        "relief as masks, disturbed": DISTURBED | RELIEF_AS_MASKS,
        "relief as masks, cut, exact": EXACT | RELIEF_AS_MASKS | CUT,
        "relief as masks, cut, disturbed": DISTURBED | RELIEF_AS_MASKS | CUT,
        "system and cut relief, estimated": ESTIMATED | SYSTEM | RELIEF | CUT,
        "system and cut relief, disturbed": DISTURBED | SYSTEM | RELIEF | CUT,
        "colour among next neighbours": NO_DEPTH | NO_TEACHER | {"method.dilation": 1},
        "plane-aware affinity, estimated": ESTIMATED | PAPER | NO_TEACHER | {"method.depth_form": "plane"},
        "plane-aware affinity, disturbed": DISTURBED | PAPER | NO_TEACHER | {"method.depth_form": "plane"},
    },
)
"""All rows but "colour alone (BoxInst)" have `box_prior` (ours, falling to 0 over the warm-up): without it masks may end as outlines (experiments/LOG.md).

The row "system" is "+ depth in matching" of the ladder: everything above it, and depth in the matching."""

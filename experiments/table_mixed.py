"""What do boxes add where a few images have masks? Camouflaged scenes: masks of 5 % (18 of 360), boxes of another 15 %, nothing of the others, a detector.

Expected: boxes of 54 images bring more than nothing of 342; all three together are best. Cost: up to 8 minutes a cell
on two cores.

    uv run depthbox ablate experiments/table_mixed.py data.root=BLOCKS/instances model.weights=mobilenetv2_100.safetensors

From the repository's root: `experiments/splits/blocks_boxed_15pct.txt` holds the images of the set's labelled_20pct that are not in its labelled_5pct.
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_pl_dc.py"), "TABLE", Ablation, example="Ablation(...)")

BOXED = {"data.train.boxed": "experiments/splits/blocks_boxed_15pct.txt"}
DEPTH = {"depth.source": "maps:depth/train", "depth.maps.kind": "depth_mm", "depth.maps.zero": "far"}

TABLE = replace(
    LADDER,
    rows={
        "masks": LADDER.rows["supervised only"],
        "masks and boxes": {"method.burn_in": 1.0, "method.detector.class_from": 0.0, "data.boxed_share": 0.5} | BOXED,
        "masks and nothing (PL-DC)": {},
        "masks, boxes and nothing": {"data.labelled_share": 0.25, "data.boxed_share": 0.25} | BOXED,
        "+ depth affinity of boxes": {"data.labelled_share": 0.25, "data.boxed_share": 0.25} | BOXED | DEPTH,
        "PL-DC + depth affinity of pseudo masks": {"method.detector.weights.pseudo_depth_affinity": 0.3} | DEPTH,
    },
)

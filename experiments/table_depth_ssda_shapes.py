"""The same ladder with the eight shapes as classes of their own: six scenes do not teach them, and a teacher who knows ground and wall alone does harm.

    uv run depthbox ablate experiments/table_depth_ssda_shapes.py data.root=BLOCKS sde=out/sde model.weights=mobilenetv2_100.safetensors

Kept to show where mixing fails: "all labels" is no strong model here, so no target is measured with it.
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.core.config import vary
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_depth_ssda.py"), "TABLE", Ablation, example="Ablation(...)")

ROWS = (
    "labels alone",
    "+ transfer",
    "+ ClassMix",
    "+ DepthMix",
    "DepthMix, pixel by pixel",
    "ClassMix, the teacher's own share",
    "DepthMix, the teacher's own share",
    "ClassMix of frames without labels",
    "DepthMix of frames without labels",
    "all labels",
    "all labels, transfer",
)
"""Mixing and what it is measured against; what the other rows ask, a network that knows no object cannot answer."""

TABLE = replace(
    LADDER,
    base=vary(LADDER.base, {"data.table": "semantic_ids.json"}),
    seeds=(0,),
    rows={name: LADDER.rows[name] for name in ROWS},
)

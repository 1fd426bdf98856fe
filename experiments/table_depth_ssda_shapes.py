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

OF_OTHERS = ("+ multi-task", "source", "cross-domain", "target", "geometry", "all labels, DepthMix")

TABLE = replace(
    LADDER,
    base=vary(LADDER.base, {"data.table": "semantic_ids.json"}),
    seeds=(0,),
    rows={name: changes for name, changes in LADDER.rows.items() if not any(word in name for word in OF_OTHERS)},
)
"""Mixing and what it is measured against; what the other rows ask, a network that knows no object cannot answer."""

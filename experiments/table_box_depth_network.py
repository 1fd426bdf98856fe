"""Does a depth network that starts from ImageNet's encoder serve box supervision better than the one that ships? Boxes only, rendered scenes for depth.

Expected: with the built-in file a third of the gap to full masks is missed; with the other it is closed. Cost: as `table_box_depth.py`, whose rows are the comparison.

    uv run depthbox depth train out=out/network/model.safetensors steps=8000 weights=mobilenetv2_100.safetensors
    uv run depthbox ablate experiments/table_box_depth_network.py data.root=BLOCKS/instances network=out/network model.weights=mobilenetv2_100.safetensors
"""

from dataclasses import replace
from pathlib import Path

from depthbox.commands.definition import load_value
from depthbox.report.ablation import Ablation

LADDER = load_value(Path(__file__).with_name("table_box_depth.py"), "TABLE", Ablation, example="Ablation(...)")
ROWS = ("system", "system and cut relief")
STARTED = {"depth.source": "builtin:{network}/model.safetensors"}

TABLE = replace(
    LADDER,
    runs={"network": ""},
    rows={name: LADDER.rows[name] for name in ("colour and box prior", "fully supervised")}
    | {f"{name}, built-in": LADDER.rows[f"{name}, estimated"] for name in ROWS}
    | {f"{name}, started": LADDER.rows[f"{name}, estimated"] | STARTED for name in ROWS}
    | {"relief as masks, cut, started": LADDER.rows["relief as masks, cut, exact"] | STARTED},
)
"""The first four rows are rows of the ladder, and their cells are the same."""

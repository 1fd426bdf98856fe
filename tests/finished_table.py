"""A table whose cells are finished without training: scores, curves and strips as runs leave them."""

import json
from pathlib import Path

from PIL import Image

from depthbox.recipes import box_depth
from depthbox.report.ablation import Ablation, Finished, finished_cells, keep
from depthbox.report.compare import Comparison, compare

__all__ = ["COLOUR", "TABLE", "compared", "write_finished_table"]

COLOUR = "method.weights.color_affinity"
TABLE = Ablation(
    about="Does colour matter? <Expected>: yes.\n\nCost: nothing.\n\n    first words\n    second <words>",
    base=box_depth(),
    rows={
        "colour 0.3": {COLOUR: 0.3},
        "colour 0": {COLOUR: 0.0},
        "colour | 1": {COLOUR: 1.0},
        "ResNet": {"model.backbone": "resnet50"},
        "never run": {COLOUR: 9.0, "batch_size": 4},
    },
    metrics=("mask_ap", "box_ap"),
)
MASK_AP = {
    "colour 0.3": (0.30, 0.34, 0.29),
    "colour 0": (0.20, 0.25, 0.18),
    "colour | 1": (0.30, 0.34, 0.29),
    "ResNet": (0.5,),
}


def write_finished_table(results: Path) -> Path:
    """`results/table.jsonl` and `results/cells/`; the last row has no cell, "ResNet" has one seed."""
    folder = results / "cells"
    folder.mkdir(parents=True)
    Image.new("RGB", (300, 60), "green").save(folder / "truth-0.jpg")
    for cell in TABLE.cells():
        if cell.seed >= len(MASK_AP.get(cell.row, ())):
            continue
        score = MASK_AP[cell.row][cell.seed]
        scores = {"mask_ap": score, "box_ap": score / 2, "mask_ap/cat": score, "mask_ap/dog": score / 3}
        identity = {"digest": cell.digest, "row": cell.row, "seed": cell.seed, "run_id": cell.digest * 2}
        done = Finished(**identity, scores=scores, seconds=90 + cell.seed, machine="2 threads", commit="abc1234")
        keep(done, results / "table.jsonl")
        curves = {
            name: [(step, step * score / 50) for step in range(0, 50, 5)] for name in ("val/mask_ap", "loss/total")
        }
        (folder / f"{cell.digest}.json").write_text(json.dumps({"curves": curves, "truth": "truth-0.jpg"}))
        Image.new("RGB", (300, 60), (int(255 * score), 40, 200)).save(folder / f"{cell.digest}.jpg")
    return results


def compared(results: Path) -> Comparison:
    return compare(TABLE, finished_cells(results))

"""How good are the masks that `depthbox label` makes, and does its quality figure know?

python experiments/bench_label.py MASKS.json TRUTH.json

Expected on the 120 Penn-Fudan training photos, with a model trained on their boxes: mean IoU above 0.75 (the box as mask 0.50, its ellipse 0.58),
Spearman's rank correlation of quality and IoU above 0.5.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from depthbox.evaluate.instance import to_rle


def figures(masks: Path, truth: Path) -> dict[str, float]:
    """Mean IoU with the truth, by annotation id, and Spearman's correlation with each figure of the masks."""
    from pycocotools import mask as coder

    made = {one["id"]: one for one in json.loads(masks.read_text())["annotations"] if not one.get("iscrowd")}
    said = json.loads(truth.read_text())
    sizes = {one["id"]: (one["height"], one["width"]) for one in said["images"]}
    true = {one["id"]: to_rle(one["segmentation"], sizes[one["image_id"]]) for one in said["annotations"]}
    ids = sorted(made.keys() & true.keys())
    iou = np.array([coder.iou([made[i]["segmentation"]], [true[i]], [0])[0, 0] for i in ids])
    found = {
        "masks": len(ids),
        "mean_iou": float(iou.mean()),
        "worst_tenth": float(np.sort(iou)[: len(ids) // 10].mean()),
    }
    for name in made[ids[0]]["attributes"]:
        values = [made[i]["attributes"].get(name, np.nan) for i in ids]
        found[f"spearman/{name}"] = float(spearmanr(values, iou, nan_policy="omit").statistic)
    return found


if __name__ == "__main__":
    for name, value in figures(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{name:28} {value:.3f}")

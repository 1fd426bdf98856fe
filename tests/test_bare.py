"""A GPU box with torch, torchvision, timm and transformers alone trains: what else there is cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tiny_coco import write_tiny_coco

BLOCKED = ("ray", "mlflow", "pycocotools", "faster_coco_eval", "kornia", "pydantic", "jaxtyping")
BLOCKER = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"No module named {{name!r}} (blocked)")

sys.meta_path.insert(0, Blocked())
"""


def test_box_depth_trains_without_ray_mlflow_and_pycocotools(tmp_path: Path) -> None:
    # Read at the start of every Python, so that the data process is as bare.
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    root = write_tiny_coco(tmp_path / "data")
    words = [
        *(f"data.root={root}", "data.train.images=photos", "data.train.annotations=boxes.json"),
        *("data.val.images=photos", "data.val.annotations=instances.json", "depth.source=maps:depth"),
        *("model.backbone=test_efficientnet", "model.weights=none", "model.channels=32", "model.mask_width=16"),
        *("data.views.short_side=64", "data.views.max_side=96", "batch_size=2", "schedule.steps=2", "launcher=local"),
        *("device=cpu", f"out={tmp_path / 'run'}"),
    ]
    repository = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "depthbox", "train", "box_depth", *words, "--json"],
                          capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["mask_ap"] is None and 0 <= result["box_ap"] <= 1
    assert "is not installed; box AP by numpy" in result["note"]
    assert (result["rows_ok"], result["run_id"]) == (4, "")
    assert "the run is not tracked" in done.stderr
    assert (tmp_path / "run" / "model.safetensors").is_file() and (tmp_path / "run" / "predictions.png").is_file()

"""Video small enough for every test: a camera that steps aside before two textured walls, with exact depth and intrinsics."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from depthbox.core.config import vary
from depthbox.experiment import Experiment
from depthbox.recipes import recipe

__all__ = ["FOCAL_PX", "STEP_M", "tiny_sde", "write_tiny_video"]

FOCAL_PX, STEP_M = 48.0, 0.125
NEAR_M, FAR_M = 2.0, 6.0
"""A step moves the near wall (lower half) by 3 pixels, the far one by 1."""


def write_tiny_video(
    folder: Path, *, sequences: int = 2, frames: int = 6, size_hw: tuple[int, int] = (48, 64), still: bool = False
) -> Path:
    """`folder/seq_N/{frame,depth}_NNN.png` and `folder/intrinsics.json`."""
    height, width = size_hw
    for number in range(sequences):
        rng = np.random.default_rng(number)
        walls = [_texture(rng, height, width + 4 * frames) for _ in range(2)]
        place = folder / f"seq_{number}"
        place.mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            depth = np.full(size_hw, FAR_M)
            depth[height // 2 :] = NEAR_M
            shift = [0 if still else round(FOCAL_PX * STEP_M * t / z) for z in (FAR_M, NEAR_M)]
            far, near = (wall[:, s : s + width] for wall, s in zip(walls, shift, strict=True))
            image = np.where(depth[..., None] == NEAR_M, near, far)
            Image.fromarray(image).save(place / f"frame_{t:03d}.png")
            Image.fromarray((depth * 1000).astype(np.uint16)).save(place / f"depth_{t:03d}.png")
    camera = {"fx": FOCAL_PX, "fy": FOCAL_PX, "cx": width / 2, "cy": height / 2, "width": width, "height": height}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return folder


def tiny_sde(data: Path, out: Path, **overrides: object) -> Experiment:
    """A run of seconds on that video: small encoders without weights, a few steps, float32."""
    settings: dict[str, object] = {
        "data.root": str(data), "data.train.sequences": "seq_0", "data.val.sequences": "seq_1", "data.views.short_side": 32,
        "model.backbone": "test_efficientnet", "model.weights": "none", "model.pose_backbone": "test_efficientnet", "model.pose_weights": "none",
        "model.width": 8, "schedule.steps": 6, "schedule.log_every": 1, "schedule.checkpoint_every": 2, "schedule.precision": "float32",
        "batch_size": 2, "launcher": "local", "data.processes": 0, "out": str(out), "tracking.uri": "none",
    }  # fmt: skip
    return vary(recipe("sde"), settings | overrides)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Blotches of a few pixels: fine enough to see a step, coarse enough to follow its gradient."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal((height, width, 3)), (2.5, 2.5, 0))
    return np.uint8(np.clip(128 + 60 * noise / noise.std(), 0, 255))

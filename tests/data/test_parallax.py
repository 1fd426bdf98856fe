"""How far apart frames are taken: a slow camera's further, a turning one's as if it stood still, a quick one's not at all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthbox.core.errors import InputError
from depthbox.data.intrinsics import Intrinsics
from depthbox.data.parallax import chosen_gaps, parallax
from depthbox.data.video import read_video

CAMERA = Intrinsics(fx=1.0, fy=1.25, u0=0.5, v0=0.5)
HEIGHT, WIDTH = 128, 160
JSON = '{"fx": 160, "fy": 160, "cx": 80, "cy": 64, "width": 160, "height": 128}'


def write(folder: Path, *, frames: int, step: float, turn: float = 0.0) -> list[Path]:
    """A camera that moves sideways past three bands, the lower the nearer: they shift by 0, 1 and 2 times `step` a frame, and all of them by `turn`."""
    folder.mkdir(parents=True)
    (folder / "intrinsics.json").write_text(JSON)
    rng = np.random.default_rng(0)
    waves = [(rng.uniform(0.1, 0.9, 2), rng.uniform(0, 6.28), rng.choice([-1, 1])) for _ in range(24)]
    ys, xs = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    nearness = np.minimum(ys // (HEIGHT / 3), 2)
    files = []
    for number in range(frames):
        at = xs - number * (step * nearness + turn)
        grey = sum(np.sin(side * fx * at + fy * ys + phase) for (fx, fy), phase, side in waves)
        files.append(folder / f"frame_{number:03d}.png")
        Image.fromarray(np.clip(128 + 16 * grey, 0, 255).astype(np.uint8)).convert("RGB").save(files[-1])
    return files


def test_what_turns_has_no_parallax_and_what_moves_has(tmp_path: Path):
    still = write(tmp_path / "still", frames=2, step=0.0)
    turned = write(tmp_path / "turned", frames=2, step=0.0, turn=3.0)
    moved = write(tmp_path / "moved", frames=2, step=2.0)
    both = write(tmp_path / "both", frames=2, step=2.0, turn=3.0)
    assert parallax(*still, CAMERA) < 0.02
    assert parallax(*turned, CAMERA) < 0.25
    assert parallax(*moved, CAMERA) > 0.6 and abs(parallax(*both, CAMERA) - parallax(*moved, CAMERA)) < 0.4


@pytest.mark.parametrize(
    ("step", "frames", "gaps"), [(2.4, 40, (1,)), (0.3, 40, (2, 4, 8)), (0.3, 16, (2, 4)), (0.3, 6, (1,))]
)
def test_a_slow_camera_is_looked_at_from_further_away(tmp_path: Path, step: float, frames: int, gaps: tuple[int, ...]):
    write(tmp_path / "seq_0", frames=frames, step=step, turn=1.0)
    video = read_video(tmp_path, ["seq_0"])
    assert video.gaps == gaps and len(video.records) == sum(frames - 2 * gap for gap in gaps)
    said = [finding for finding in video.findings if "too little to show depth" in finding]
    assert len(said) == (gaps != (1,)) and all(f"data.gap={','.join(map(str, gaps))};" in line for line in said)
    assert read_video(tmp_path, ["seq_0"], gaps=(1,)).findings == ()


def test_a_still_video_is_refused_as_ever(tmp_path: Path):
    write(tmp_path / "seq_0", frames=40, step=0.0)
    with pytest.raises(InputError, match="nothing moves"):
        read_video(tmp_path, ["seq_0"])


def test_frames_that_say_nothing_do_not_choose(tmp_path: Path):
    files = write(tmp_path / "seq_0", frames=12, step=2.0)
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(files[0])
    files[3].write_bytes(b"no picture")
    assert parallax(files[0], files[1], CAMERA) is None and parallax(files[2], files[3], CAMERA) is None
    for file in files:
        Image.new("RGB", (WIDTH, HEIGHT), "grey").save(file)
    assert chosen_gaps([(files, CAMERA)]) == ((1,), None)

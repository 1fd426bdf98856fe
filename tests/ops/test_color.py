"""Lab colour against the reference, known colours, and what grey means."""

import pytest
import torch
import torch.nn.functional as F
from golden_values import golden_values
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.ops.color import rgb_to_lab

KNOWN = {
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 255, 255): (100.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (119, 119, 119): (50.03, 0.0, 0.0),
}


def lab(*rgb: float) -> list[float]:
    return rgb_to_lab(torch.tensor(rgb).view(1, 3, 1, 1) / 255).flatten().tolist()


def test_known_colours():
    for rgb, wanted in KNOWN.items():
        assert lab(*rgb) == pytest.approx(wanted, abs=0.02), rgb


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 254))
def test_grey_has_no_hue_and_grows_lighter(level):
    lightness, a, b = lab(level, level, level)
    assert abs(a) < 0.01 and abs(b) < 0.01 and 0 <= lightness < lab(level + 1, level + 1, level + 1)[0] <= 100.001


def test_golden_lab(shared):
    said = golden_values(shared, "boxinst_losses")
    pooled = F.avg_pool2d(said["images_bgr_u8"].flip(1).float(), 4).floor() / 255
    torch.testing.assert_close(rgb_to_lab(pooled), said["images_lab"], rtol=1e-4, atol=1e-3)

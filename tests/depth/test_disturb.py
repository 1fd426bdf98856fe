"""Disturbed disparity is worse in the stated way, the same every time, and never invents a pixel."""

import numpy as np
import pytest

from depthbox.core.errors import UsageError
from depthbox.depth.disturb import DisturbConfig, disturb


def stairs() -> np.ndarray:
    values = np.repeat(np.repeat(np.linspace(0.1, 0.9, 8, dtype=np.float32), 8)[None], 48, axis=0)
    values[:4, :4] = np.nan
    return values


@pytest.mark.parametrize("setting", [{"blur": 2.0}, {"noise": 0.05}, {"scale": 4.0}, {"levels": 4}])
def test_each_disturbance_changes_the_map_and_keeps_its_gaps(setting):
    before, config = stairs(), DisturbConfig(**setting)
    after = disturb(before, config, seed=0, image_id=7)
    assert after.shape == before.shape and after.dtype == before.dtype
    assert np.array_equal(np.isnan(after), np.isnan(before)) and np.nanmin(after) >= 0 and np.nanmax(after) <= 1
    assert np.nanmax(np.abs(after - before)) > 0.02
    assert np.array_equal(after, disturb(before, config, seed=0, image_id=7), equal_nan=True)


def test_nothing_is_disturbed_by_default():
    before = stairs()
    assert disturb(before, DisturbConfig(), seed=0, image_id=7) is before


def test_what_each_does():
    before = stairs()
    blurred = disturb(before, DisturbConfig(blur=2), seed=0, image_id=1)
    assert np.nanmax(np.abs(np.diff(blurred[10]))) < 0.4 * np.nanmax(np.abs(np.diff(before[10])))
    noise = disturb(before, DisturbConfig(noise=0.05), seed=0, image_id=1) - before
    assert 0.03 < np.nanstd(noise) < 0.07
    ratios = [np.nanmax(disturb(before, DisturbConfig(scale=4), seed=0, image_id=i)) / 0.9 for i in range(20)]
    assert 0.25 <= min(ratios) < 0.5
    assert 0.8 < max(ratios) <= 1
    steps = np.unique(disturb(before, DisturbConfig(levels=4), seed=0, image_id=1)[10])
    assert set(np.round(steps * 3, 4)) <= {0, 1, 2, 3}


def test_images_and_seeds_differ():
    before, config = stairs(), DisturbConfig(noise=0.05)
    maps = [disturb(before, config, seed=s, image_id=i) for s, i in ((0, 1), (0, 2), (1, 1))]
    assert not np.allclose(maps[0], maps[1], equal_nan=True) and not np.allclose(maps[0], maps[2], equal_nan=True)


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="levels 0 or at least 2"):
        DisturbConfig(levels=1)

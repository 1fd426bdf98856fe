from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.cache import DisparityCache
from depthbox.depth.maps import MapsDepth
from depthbox.depth.quality import aligned_depth, depth_errors, evaluate_depth, rank_correlation, run_depth

H, W = 24, 32
KEYS = ["abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3"]


def _scene(folder, count=2):
    """Photos, and exact depth in metres that falls towards the bottom, with sky in the upper rows."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    photos, depths = [], []
    for n in range(count):
        depth_m = np.linspace(30, 3, H)[:, None] * rng.uniform(0.5, 1.5, (H, W))
        depth_m[:4] = 0
        photos.append(str(folder / f"{n}.jpg"))
        depths.append(str(folder / f"{n}.npy"))
        Image.fromarray(rng.integers(0, 255, (H, W, 3), dtype=np.uint8)).save(photos[-1])
        np.save(depths[-1], depth_m.astype(np.float32))
    return photos, depths


def test_errors_by_hand():
    errors = depth_errors(np.array([1.0, 2.0, 4.0, 10.0]), np.array([1.0, 1.0, 5.0, 16.0]))
    expected = [
        (0 + 1 / 2 + 1 / 4 + 6 / 10) / 4,
        (0 + 1 / 2 + 1 / 4 + 36 / 10) / 4,
        np.sqrt((0 + 1 + 1 + 36) / 4),
        np.sqrt((np.log(2) ** 2 + np.log(1.25) ** 2 + np.log(1.6) ** 2) / 4),
        0.25,  # 5/4 is not below 1.25
        0.5,
        0.75,
    ]
    assert list(errors) == KEYS
    np.testing.assert_allclose(list(errors.values()), expected)


def test_errors_equal_the_reference_values(shared):
    golden = np.load(shared / "golden" / "self_supervised_depth" / "monodepth2_layers.npz")
    errors = depth_errors(golden["depth_gt"], golden["depth_pred"])
    np.testing.assert_allclose([errors[key] for key in KEYS], golden["depth_errors"], rtol=1e-4, atol=1e-5)


def test_scale_and_shift_of_disparity_are_found():
    truth_m = np.linspace(2, 50, 100)
    disparity = (1 / truth_m - 1 / 50) / (1 / 2 - 1 / 50)
    np.testing.assert_allclose(aligned_depth(disparity, truth_m), truth_m, rtol=1e-6)
    np.testing.assert_allclose(aligned_depth(5 / truth_m, truth_m, alignment="median"), truth_m, rtol=1e-6)
    np.testing.assert_allclose(aligned_depth(1 / truth_m, truth_m, alignment="none"), truth_m, rtol=1e-6)
    assert np.isfinite(aligned_depth(np.zeros(100), truth_m, alignment="median")).all()
    with pytest.raises(UsageError, match="scale_shift, median, none"):
        aligned_depth(disparity, truth_m, alignment="mean")


def test_rank_correlation_sees_order_alone():
    values = np.linspace(0.1, 1, 50)
    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(1 - values, values) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.zeros(50), values))


def test_exact_depth_is_perfect_and_the_row_prior_is_not(tmp_path):
    photos, depths = _scene(tmp_path)
    result = evaluate_depth(MapsDepth(tmp_path, kind="depth_m"), photos, depths, kind="depth_m")
    assert result["images"] == 2
    assert result["estimator"]["abs_rel"] < 1e-3
    assert result["estimator"]["a1"] == 1
    assert result["estimator"]["spearman"] > 0.999
    assert 0.3 < result["lower_is_nearer"]["spearman"] < 0.95
    assert result["lower_is_nearer"]["abs_rel"] > 0.05
    assert list(result["estimator"]) == list(result["lower_is_nearer"]) == [*KEYS, "spearman"]


def test_what_cannot_be_scored_is_said(tmp_path):
    photos, depths = _scene(tmp_path)
    estimator = MapsDepth(tmp_path, kind="depth_m")
    with pytest.raises(UsageError, match="2 photos and 1 depth maps"):
        evaluate_depth(estimator, photos, depths[:1], kind="depth_m")
    with pytest.raises(UsageError, match="disparity"):
        evaluate_depth(estimator, photos, depths, kind="disparity")
    np.save(tmp_path / "far.npy", np.full((H, W), 500, np.float32))
    with pytest.raises(InputError, match=r"far\.npy: no measured pixel nearer than 80 m"):
        evaluate_depth(estimator, photos[:1], [str(tmp_path / "far.npy")], kind="depth_m")


def test_a_photo_that_cannot_be_scored_is_left_out_and_named(tmp_path, caplog):
    photos, depths = _scene(tmp_path, 4)
    np.save(depths[0], np.zeros((H, W), np.float32))
    np.save(depths[1], np.ones((H, 2 * W), np.float32))
    Path(photos[2]).write_bytes(b"")
    result = evaluate_depth(MapsDepth(tmp_path, kind="depth_m"), photos, depths, kind="depth_m")
    assert result["images"] == 1 and result["estimator"]["a1"] == 1
    for said, file in zip(result["skipped"], (depths[0], depths[1], photos[2]), strict=True):
        assert said.startswith(file) and said in caplog.text


def test_zeros_that_look_like_holes_are_said(tmp_path, caplog):
    photos, depths = _scene(tmp_path)
    evaluate_depth(MapsDepth(tmp_path, kind="depth_m"), photos, depths, kind="depth_m")
    assert not caplog.text  # sky lies above
    for path in depths:
        depth_m = np.load(path)
        depth_m[12:20, 5:25] = 0
        np.save(path, depth_m)
    evaluate_depth(MapsDepth(tmp_path, kind="depth_m"), photos, depths, kind="depth_m", zero="missing")
    assert not caplog.text
    evaluate_depth(MapsDepth(tmp_path, kind="depth_m"), photos, depths, kind="depth_m")
    assert "depth.maps.zero=missing" in caplog.text


def test_written_maps_can_be_read_back(tmp_path):
    photos, _ = _scene(tmp_path / "in")
    estimator = MapsDepth(tmp_path / "in", kind="depth_m", zero="missing")
    result = run_depth(estimator, photos, tmp_path / "out")
    assert (result["images"], result["depth_inferences"], result["skipped"]) == (2, 0, [])
    image = np.zeros((H, W, 3), np.uint8)
    written = MapsDepth(tmp_path / "out", kind="disparity", zero="missing").disparity([image] * 2, photos)
    for values, exact in zip(written, estimator.disparity([image] * 2, photos), strict=True):
        assert np.isnan(values[:4]).all()
        np.testing.assert_allclose(values, exact, atol=5e-4)
    with Image.open(tmp_path / "out" / "preview" / "0.jpg") as preview:
        assert preview.size == (2 * W, H)
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert picture.mode == "I;16"


class Counted(MapsDepth):
    cached = True


def test_a_bad_photo_is_skipped_and_named_and_the_cache_is_used(tmp_path):
    photos, _ = _scene(tmp_path / "in")
    (tmp_path / "in" / "1.jpg").write_bytes(b"no photo")
    cache = DisparityCache(tmp_path / "cache")
    for counts in [(1, 0), (0, 1)]:
        result = run_depth(Counted(tmp_path / "in", kind="depth_m"), photos, tmp_path / "out", cache=cache)
        assert (result["depth_inferences"], result["cache_hits"]) == counts
        assert result["images"] == 1
        assert "1.jpg" in result["skipped"][0]
    with pytest.raises(InputError, match="no photo gave a map"):
        run_depth(Counted(tmp_path / "in", kind="depth_m"), photos[1:], tmp_path / "out")


def test_photos_of_one_stem_are_refused(tmp_path):
    photos, _ = _scene(tmp_path)
    with pytest.raises(InputError, match="same stem"):
        run_depth(MapsDepth(tmp_path, kind="depth_m"), [photos[0], "/else/0.jpg"], tmp_path / "out")

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.actor import DepthActor
from depthbox.depth.estimator import BadDepth, build_estimator, checked, normalised, same_aspect

PHOTO = np.zeros((60, 80, 3), np.uint8)
RAMP = np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80)


def _with(value, where=(0, 0)):
    values = RAMP.copy()
    values[where] = value
    return values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full_like(RAMP, np.nan), "NaN everywhere"),
        (np.full_like(RAMP, 0.3), "constant (0.3"),
        (_with(np.inf), "infinite"),
        (_with(1.5), "to 1.5; allowed is 0 to 1"),
        (_with(-0.5), "spans -0.5 to 1"),
        (RAMP[None], "shape (1, 60, 80)"),
        (RAMP.T, "80x60, the photo 60x80"),
        (RAMP[:, :70], "60x70, the photo 60x80"),
        (RAMP[:0], "not the same aspect"),
        ((RAMP * 255).astype(np.uint8), "uint8"),
    ],
)
def test_a_bad_map_is_refused_with_photo_and_estimator(values, said):
    with pytest.raises(BadDepth, match="street.jpg: depth by hf:tiny: ") as caught:
        checked(values, PHOTO, path="street.jpg", estimator="hf:tiny")
    assert said in str(caught.value)
    assert "next:" in str(caught.value)


def test_unmeasured_pixels_and_rounding_are_fine():
    values = _with(np.nan, np.s_[:30])
    values[-1, -1] = 1 + 1e-4
    accepted = checked(values, PHOTO, path="a", estimator="b")
    assert accepted.dtype == np.float32
    assert np.isnan(accepted[:30]).all()
    assert np.nanmax(accepted) == 1


def test_any_size_of_the_same_aspect_is_fine():
    for size_hw in [(30, 40), (15, 20), (120, 160), (6, 8), (61, 81)]:
        assert same_aspect(size_hw, (60, 80)), size_hw
    for size_hw in [(80, 60), (60, 60), (60, 84), (0, 80)]:
        assert not same_aspect(size_hw, (60, 80)), size_hw


def test_bad_depth_survives_a_process_border():
    error = pickle.loads(pickle.dumps(BadDepth("a.jpg", "depth by x", "constant", "look")))
    assert isinstance(error, BadDepth)
    assert str(error) == "a.jpg: depth by x: constant | next: look"


@given(arrays(np.float32, (5, 7), elements=st.floats(0, 1e4, width=32)), st.floats(0.5, 20), st.floats(0, 50))
def test_min_max_spans_the_unit_interval_and_ignores_scale_and_shift(inverse, scale, shift):
    inverse[0, 0], inverse[4, 6], inverse[2, 2] = 0, 2e4, np.nan
    disparity = normalised(inverse)
    assert np.nanmin(disparity) == 0
    assert np.nanmax(disparity) == 1
    assert np.isnan(disparity).sum() == 1
    np.testing.assert_allclose(normalised(scale * inverse + shift), disparity, atol=1e-4)


def test_rounding_noise_is_not_stretched_to_a_map():
    noise = np.float32(7) + np.random.default_rng(0).random((4, 4), np.float32) * np.float32(1e-6)
    assert (normalised(noise) == 0).all()


@pytest.mark.parametrize("spec", ["dpt", "maps:", "hf:", "", "mapz:folder", "builtin:", "Maps:x"])
def test_an_unknown_source_names_the_allowed_ones(spec):
    with pytest.raises(UsageError, match="none, builtin, builtin:FILE, maps:DIR, hf:NAME_OR_FOLDER"):
        build_estimator(spec)


def test_a_typo_is_met_with_a_suggestion():
    with pytest.raises(UsageError, match="did you mean maps:d?"):
        build_estimator("map:d")


def test_none_is_no_estimator(tmp_path):
    assert build_estimator("none") is None
    with pytest.raises(UsageError, match="depth.source=none"):
        DepthActor("none", str(tmp_path))


# The actor ------------------------------------------------------------------------------------------------------------


def _batch(sizes, folder, *, ok=None):
    rng = np.random.default_rng(0)
    images = np.empty(len(sizes), dtype=object)
    for row, (h, w) in enumerate(sizes):
        images[row] = rng.integers(0, 255, (h, w, 3), dtype=np.uint8)
        np.save(folder / f"{row}.npy", np.linspace(1, 9, h * w, dtype=np.float32).reshape(h, w))
    return {
        "image": images,
        "digest": np.array([f"{row:032x}" for row in range(len(sizes))], dtype=object),
        "path": np.array([f"/photos/{row}.jpg" for row in range(len(sizes))], dtype=object),
        "ok": np.ones(len(sizes), bool) if ok is None else np.array(ok),
    }


def test_the_actor_passes_over_rows_that_are_not_ok(tmp_path):
    batch = _batch([(20, 30), (25, 25), (30, 20)], tmp_path, ok=[True, False, True])
    batch["path"][1] = "/photos/no-map.jpg"
    out = DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m")(batch)
    assert [values.shape for values in out["disparity"]] == [(20, 30), (1, 1), (30, 20)]
    assert all(values.dtype == np.float16 for values in out["disparity"])
    assert not out["depth_hit"].any()
    assert not out["depth_inferred"].any(), "reading a map is no inference"
    assert out["image"] is batch["image"]
    assert "reason" not in out


def test_the_actor_takes_a_fixed_size_array_of_images(tmp_path):
    batch = _batch([(20, 30)] * 2, tmp_path)
    batch["image"] = np.stack(list(batch["image"]))
    out = DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m")(batch)
    assert out["disparity"].dtype == object
    assert out["disparity"].shape == (2,)


def test_one_unusable_map_ends_the_batch_or_quarantines_the_row(tmp_path):
    batch = _batch([(20, 30), (20, 30)], tmp_path)
    np.save(tmp_path / "1.npy", np.full((20, 30), 4, np.float32))
    with pytest.raises(BadDepth, match=r"1\.jpg.*constant"):
        DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m")(batch)
    out = DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m", bad_depth="quarantine")(batch)
    assert out["ok"].tolist() == [True, False]
    assert batch["ok"].all(), "the input is left alone"
    assert "constant" in out["reason"][1]
    assert out["reason"][0] == ""


def test_a_missing_map_ends_the_batch_even_under_quarantine(tmp_path):
    batch = _batch([(20, 30)], tmp_path)
    batch["path"][0] = "/photos/lost.jpg"
    with pytest.raises(InputError, match=r"the photo /photos/lost\.jpg has no map"):
        DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m", bad_depth="quarantine")(batch)


def test_an_empty_batch_passes(tmp_path):
    batch = _batch([(20, 30)], tmp_path)
    out = DepthActor(f"maps:{tmp_path}", None, maps_kind="depth_m")({key: value[:0] for key, value in batch.items()})
    assert len(out["disparity"]) == 0

import numpy as np
import pytest
from PIL import Image

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.estimator import build_estimator
from depthbox.depth.maps import MapsDepth, read_inverse, row_correlation, sign_finding, zero_finding

H, W = 24, 32
PHOTO = np.zeros((H, W, 3), np.uint8)
DEPTH_M = np.linspace(20, 2, H, dtype=np.float32)[:, None].repeat(W, 1)  # lower is nearer
DEPTH_M[:4] = 0  # sky or hole


def _write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


def _one(folder, **options):
    return MapsDepth(folder, **options).disparity([PHOTO], ["/photos/a.jpg"])[0]


MILLIMETRES = np.round(DEPTH_M * 1000).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("a.png", MILLIMETRES, "depth_mm"),
        ("a.tif", MILLIMETRES, "depth_mm"),
        ("a.npy", MILLIMETRES, "depth_mm"),
        ("a.npy", DEPTH_M, "depth_m"),
        ("a.tiff", DEPTH_M, "depth_m"),
        ("a.npy", DEPTH_M.astype(np.float64)[None], "depth_m"),
        ("a.npy", DEPTH_M[..., None], "depth_m"),
    ],
)
def test_depth_becomes_min_max_disparity_with_sky_at_zero(tmp_path, name, values, kind):
    _write(tmp_path / name, values)
    inverse = np.where(DEPTH_M > 0, 1 / np.maximum(DEPTH_M, 1e-6), 0)
    np.testing.assert_allclose(_one(tmp_path, kind=kind), inverse / inverse.max(), atol=1e-3)


def test_zero_may_mean_missing(tmp_path):
    _write(tmp_path / "a.png", MILLIMETRES)
    disparity = _one(tmp_path, kind="depth_mm", zero="missing")
    assert np.isnan(disparity[:4]).all()
    assert disparity[4].max() == 0, "the farthest measured pixel is 0"
    assert disparity[-1].min() == 1


@pytest.mark.parametrize(("zero", "is_nothing"), [("far", lambda v: v == 0), ("missing", np.isnan)])
def test_the_most_that_16_bits_hold_is_no_depth(tmp_path, zero, is_nothing):
    values = np.full((H, W), 2000, np.uint16)
    values[0] = 65535
    _write(tmp_path / "a.png", values)
    inverse = read_inverse(tmp_path / "a.png", kind="depth_mm", zero=zero)
    assert is_nothing(inverse[0]).all() and (inverse[1:] == 0.5).all()


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, H, dtype=np.float32)[:, None].repeat(W, 1),
        np.linspace(0, 65535, H).astype(np.uint16)[:, None].repeat(W, 1),
        np.linspace(0, 255, H).astype(np.uint8)[:, None].repeat(W, 1),
    ],
)
def test_stored_disparity_keeps_its_sign(tmp_path, values):
    _write(tmp_path / "a.npy", values)
    np.testing.assert_allclose(_one(tmp_path, kind="disparity")[:, 0], np.linspace(0, 1, H), atol=5e-3)


def test_infinite_depth_is_sky_and_nan_is_missing(tmp_path):
    values = DEPTH_M.copy()
    values[:4], values[4] = np.inf, np.nan
    _write(tmp_path / "a.npy", values)
    disparity = _one(tmp_path, kind="depth_m")
    assert (disparity[:4] == 0).all()
    assert np.isnan(disparity[4]).all()


def test_a_larger_map_is_thinned_and_a_smaller_one_stays(tmp_path):
    _write(tmp_path / "a.npy", DEPTH_M.repeat(3, 0).repeat(3, 1))
    assert np.array_equal(_one(tmp_path, kind="depth_m"), _one_of(tmp_path, DEPTH_M))
    assert _one_of(tmp_path, DEPTH_M[::2, ::2]).shape == (H // 2, W // 2)


def _one_of(folder, values):
    _write(folder / "a.npy", values)
    return _one(folder, kind="depth_m")


def test_a_photo_without_a_map_is_named_with_the_folder(tmp_path):
    _write(tmp_path / "b.png", MILLIMETRES)
    with pytest.raises(InputError) as caught:
        _one(tmp_path)
    assert "the photo /photos/a.jpg has no map" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(InputError, match="a.jpg has no map"):
        MapsDepth(tmp_path).require(["/photos/b.jpg", "/photos/a.jpg"])


def test_two_photos_may_not_share_a_map_nor_a_photo_have_two(tmp_path):
    _write(tmp_path / "a.png", MILLIMETRES)
    with pytest.raises(InputError, match=r"/x/a\.jpg.*shares the map a\.png with the photo /y/a\.jpg"):
        MapsDepth(tmp_path).require(["/y/a.jpg", "/x/a.jpg"])
    _write(tmp_path / "a.npy", MILLIMETRES)
    with pytest.raises(InputError, match=r"more than one map: a\.npy and a\.png"):
        MapsDepth(tmp_path).require(["/x/a.jpg"])


def test_a_photo_beside_the_maps_is_not_its_own_map(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    _write(tmp_path / "a.npy", DEPTH_M)
    estimator = MapsDepth(tmp_path, kind="depth_m")
    assert estimator.disparity([PHOTO], [str(tmp_path / "a.png")])[0].max() == 1


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("depth_m", MILLIMETRES, "depth.maps.kind=depth_mm"),
        ("depth_m", DEPTH_M * 1000, "depth.maps.kind=depth_mm"),
        ("depth_mm", DEPTH_M, "depth.maps.kind=depth_m "),
        ("depth_mm", (DEPTH_M * 10).astype(np.uint8), "8-bit"),
        ("disparity", MILLIMETRES, "depth.maps.kind=depth_mm"),
        ("disparity", DEPTH_M, "values up to 16.87"),
        ("depth_m", -DEPTH_M, "negative"),
        ("depth_m", DEPTH_M.T, "32x24, its photo 24x32"),
        ("depth_m", DEPTH_M[:, :28], "not the same aspect"),
        ("depth_m", np.stack([DEPTH_M] * 3), "shape (3, 24, 32)"),
        ("depth_m", DEPTH_M > 3, "bool"),
        ("depth_m", DEPTH_M[:0], "shape (0, 32)"),
    ],
)
def test_wrong_unit_sign_or_size_is_refused_with_a_way_out(tmp_path, kind, values, said):
    _write(tmp_path / "a.npy", values)
    with pytest.raises(InputError) as caught:
        _one(tmp_path, kind=kind)
    assert said in str(caught.value)
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n garbage", b"x" * 100])
@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif"])
def test_a_damaged_file_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        _one(tmp_path)


def test_a_pickled_array_is_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        _one(tmp_path)


def test_a_colour_picture_is_no_map(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="colour or palette picture"):
        _one(tmp_path)


def test_kind_zero_and_folder_are_checked(tmp_path):
    with pytest.raises(UsageError, match="allowed are depth_mm, depth_m, disparity"):
        build_estimator(f"maps:{tmp_path}", maps_kind="mm")
    with pytest.raises(UsageError, match="allowed are far, missing"):
        build_estimator(f"maps:{tmp_path}", maps_zero="sky")
    with pytest.raises(InputError, match="no depth map"):
        build_estimator(f"maps:{tmp_path}")
    with pytest.raises(InputError, match="does not exist"):
        build_estimator(f"maps:{tmp_path}/nowhere")


def test_the_digest_follows_content_and_meaning(tmp_path):
    _write(tmp_path / "a.png", MILLIMETRES)
    first = MapsDepth(tmp_path).digest
    assert MapsDepth(tmp_path).digest == first
    assert MapsDepth(tmp_path, zero="missing").digest != first
    changed = MILLIMETRES.copy()
    changed[10, 10] += 1
    _write(tmp_path / "a.png", changed)
    assert MapsDepth(tmp_path).digest != first


def test_an_inverted_sign_is_found_by_the_rows(tmp_path):
    right = [np.linspace(0, 1, H, dtype=np.float32)[:, None].repeat(W, 1)] * 3
    assert row_correlation(right[0]) == pytest.approx(1)
    assert sign_finding(right) is None
    assert "inverted" in (sign_finding([1 - values for values in right]) or "")
    assert sign_finding([np.zeros((H, W), np.float32)]) is None, "a constant map has no sign"
    np.save(tmp_path / "a.npy", (DEPTH_M / 20).astype(np.float32))
    (finding,) = MapsDepth(tmp_path, kind="disparity").findings(["/photos/a.jpg"])
    assert str(tmp_path) in finding
    assert "depth.maps.kind" in finding


def test_holes_taken_for_sky_are_found():
    sky = np.where(DEPTH_M > 0, 1, 0).astype(np.float32)
    assert zero_finding([sky]) is None
    assert "zero=missing" in (zero_finding([sky[::-1]]) or "")


def test_exact_maps_of_rendered_scenes_have_the_right_sign(shared):
    folder = shared / "data" / "blocks" / "instances" / "depth" / "train"
    photos = [f"/p/{path.name}" for path in sorted(folder.glob("*.png"))[:8]]
    assert MapsDepth(folder).findings(photos) == ()
    with pytest.raises(InputError, match="depth.maps.kind=depth_mm"):
        read_inverse(folder / "000000.png", kind="disparity", zero="far")

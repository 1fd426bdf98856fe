"""The disparity cache of one process: what is a hit, what is not believed, and disks that fail."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bright_photos import Brightness, H, W, photos_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from depthbox.depth.cache import CacheKey, DisparityCache, default_cache_folder
from depthbox.depth.estimator import BadDepth


@pytest.fixture
def estimator(tmp_path):
    return Brightness(tmp_path / "log")


def _files(folder):
    return sorted(path for path in folder.rglob("*.safetensors"))


def test_a_second_look_is_a_hit_with_the_same_bits(tmp_path, estimator):
    photos = photos_of([1, 2, 300])
    cold, hits, inferences = DisparityCache(tmp_path / "c").get_or_infer(*photos, estimator)
    assert (hits, inferences) == (0, 3)
    warm, hits, inferences = DisparityCache(tmp_path / "c").get_or_infer(*photos, estimator)
    assert (hits, inferences) == (3, 0)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype == np.float16 for a, b in zip(cold, warm, strict=True))
    assert len(_files(tmp_path / "c")) == 3
    assert not list((tmp_path / "c" / ".writing").iterdir())


def test_only_what_is_missing_is_inferred_and_order_is_kept(tmp_path, estimator):
    cache = DisparityCache(tmp_path / "c")
    cache.get_or_infer(*photos_of([2]), estimator)
    maps, hits, inferences = cache.get_or_infer(*photos_of([1, 2, 3, 1]), estimator)
    assert (hits, inferences) == (2, 2), "image 2 was there, the second image 1 is served from the first"
    assert estimator.looked_at() == 3
    for values, image in zip(maps, photos_of([1, 2, 3, 1])[0], strict=True):
        np.testing.assert_allclose(values, image[..., 0] / 255, atol=5e-4)


def test_size_estimator_and_image_are_all_part_of_the_key(tmp_path, estimator):
    cache = DisparityCache(tmp_path / "c")
    images, digests, paths = photos_of([1])
    cache.get_or_infer(images, digests, paths, estimator)
    for other in [
        (photos_of([1], (2 * H, 2 * W))[0], digests, estimator),
        (images, ["f" * 32], estimator),
        (images, digests, Brightness(estimator.log, "c" * 64)),
    ]:
        assert cache.get_or_infer(other[0], other[1], paths, other[2])[1:] == (0, 1)
    assert len(_files(tmp_path / "c")) == 4


def test_no_folder_means_no_cache(estimator):
    cache = DisparityCache(None)
    assert cache.get_or_infer(*photos_of([1, 2]), estimator)[1:] == (0, 2)
    assert cache.get_or_infer(*photos_of([1, 2]), estimator)[1:] == (0, 2)
    assert cache.get_or_infer([], [], [], estimator) == ([], 0, 0)


def _damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def _damage_empty(path):
    path.write_bytes(b"")


def _damage_garbage(path):
    path.write_bytes(b"\xff" * 500)


def _damage_flip(path):
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def _damage_huge_header(path):
    data = bytearray(path.read_bytes())
    data[7] = 0x7F
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage", [_damage_truncate, _damage_empty, _damage_garbage, _damage_flip, _damage_huge_header]
)
def test_a_damaged_entry_is_inferred_again_and_mended(tmp_path, estimator, damage):
    cache, photos = DisparityCache(tmp_path / "c"), photos_of([1, 2])
    cold, _, _ = cache.get_or_infer(*photos, estimator)
    damage(_files(tmp_path / "c")[0])
    again, hits, inferences = cache.get_or_infer(*photos, estimator)
    assert (hits, inferences) == (1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(cold, again, strict=True))
    assert cache.get_or_infer(*photos, estimator)[1:] == (2, 0)


def test_any_flipped_bit_gives_a_miss_or_the_same_map(tmp_path, estimator):
    cache, photos = DisparityCache(tmp_path / "c"), photos_of([1], (3, 4))
    (cold,), _, _ = cache.get_or_infer(*photos, estimator)
    (path,) = _files(tmp_path / "c")
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 5):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(data))
        kept = cache._read(CacheKey(image=photos[1][0], estimator=estimator.digest, size_hw=(3, 4)))
        assert kept is None or np.array_equal(kept, cold), place


def test_an_entry_of_another_image_size_or_estimator_is_not_believed(tmp_path, estimator):
    cache = DisparityCache(tmp_path / "c")
    other = Brightness(tmp_path / "log", estimator.digest[:12] + "0" * 52)  # the same 12 digits: the same folder
    for photos, seen_by in [
        (photos_of([1]), estimator),
        (photos_of([2]), estimator),
        (photos_of([1], (H, H)), estimator),
    ]:
        cache.get_or_infer(*photos, seen_by)
    files = {path.name.split("-")[1] + path.name[29:32]: path for path in _files(tmp_path / "c")}
    one, two, square = files["12x16.safetensors001"], files["12x16.safetensors002"], files["12x12.safetensors001"]
    for foreign in (two, square):
        one.write_bytes(foreign.read_bytes())
        assert cache.get_or_infer(*photos_of([1]), estimator)[1:] == (0, 1)
        assert cache.get_or_infer(*photos_of([1]), estimator)[1:] == (1, 0)
    assert cache.get_or_infer(*photos_of([1]), other)[1:] == (0, 1)


disparities = arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.one_of(st.floats(0, 1, width=32), st.just(float("nan"))),
)


@settings(max_examples=40, deadline=None)
@given(values=disparities)
def test_a_round_trip_keeps_values_to_float16_and_nan(tmp_path_factory, values):
    ends = np.tile(np.float32([0, 1]), (len(values), 1))
    values = np.concatenate([values, ends], axis=1)  # never constant, never all NaN

    class Given(Brightness):
        def disparity(self, images, paths):
            return [values]

    folder = tmp_path_factory.mktemp("c")
    photo = ([np.zeros((*values.shape, 3), np.uint8)], ["a" * 32], ["a.jpg"])
    for expected in [(0, 1), (1, 0)]:
        (kept,), *counts = DisparityCache(folder).get_or_infer(*photo, Given(folder / "log"))
        assert tuple(counts) == expected
        np.testing.assert_array_equal(kept, values.astype(np.float16))
        np.testing.assert_allclose(kept, values, atol=2**-11)


def test_a_bad_map_is_not_kept_and_the_good_ones_of_its_batch_are(tmp_path, estimator):
    images, digests, paths = photos_of([1, 2, 3])
    images[1] = np.full_like(images[1], 9)
    cache = DisparityCache(tmp_path / "c")
    with pytest.raises(BadDepth, match=r"2\.jpg: depth by brightness: the map is constant"):
        cache.get_or_infer(images, digests, paths, estimator)
    found = cache.look_up(images, digests, paths, estimator)
    assert [answer.hit for answer in found] == [True, False, True]
    assert [answer.inferred for answer in found] == [False, True, False]
    assert found[1].fault
    assert found[1].disparity is None


# Faults of the disk ---------------------------------------------------------------------------------------------------

FULL_DISK = """
import resource, sys, logging
sys.path.insert(0, {here!r})
from pathlib import Path
from bright_photos import Brightness, photos_of
from depthbox.depth.cache import DisparityCache
logging.basicConfig(stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
cache, estimator = DisparityCache(Path({folder!r})), Brightness(Path({folder!r}) / "log")
for _ in range(2):
    maps, hits, inferences = cache.get_or_infer(*photos_of(range(4)), estimator)
    print(len(maps), hits, inferences)
"""


def test_a_disk_that_takes_no_more_is_said_once_and_the_run_goes_on(tmp_path):
    code = FULL_DISK.format(here=str(Path(__file__).parents[1]), folder=str(tmp_path))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.splitlines()[1:] == ["4 0 4", "4 0 4"]
    assert "no longer kept" in said
    assert "DEPTHBOX_CACHE" in said
    assert str(tmp_path) in said
    assert not _files(tmp_path)
    assert not list((tmp_path / ".writing").iterdir()), "no half file is left"


def test_a_folder_that_cannot_be_made_is_said_and_the_run_goes_on(tmp_path, estimator, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = DisparityCache(tmp_path / "file" / "c")
    assert cache.get_or_infer(*photos_of([1]), estimator)[1:] == (0, 1)
    assert cache.get_or_infer(*photos_of([2]), estimator)[1:] == (0, 1)
    assert len([record for record in caplog.records if "no longer kept" in record.message]) == 1


def test_files_of_killed_writers_are_swept(tmp_path, estimator):
    writing = tmp_path / "c" / ".writing"
    writing.mkdir(parents=True)
    old, new = writing / "1-old", writing / "2-new"
    old.write_bytes(b"half"), new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    DisparityCache(tmp_path / "c").get_or_infer(*photos_of([1]), estimator)
    assert not old.exists()
    assert new.exists(), "this one may still be written"


def test_the_default_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.delenv("DEPTHBOX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    if sys.platform == "linux":
        assert default_cache_folder() == tmp_path / "x" / "depthbox" / "disparity"
    monkeypatch.setenv("DEPTHBOX_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"

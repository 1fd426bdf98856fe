"""Several processes that fill one cache: each image once, no lock outlives its process, none is waited for for ever."""

import subprocess
import sys
import time
from pathlib import Path

from bright_photos import Brightness, H, W, photos_of
from filelock import FileLock

from depthbox.depth.cache import CacheKey, DisparityCache

PROCESS = Path(__file__).parents[1] / "cache_process.py"


def _start(folder, log, seed):
    command = [sys.executable, str(PROCESS), str(folder), str(log), str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_infer_every_image_once(tmp_path):
    log = tmp_path / "log"
    children = [_start(tmp_path / "c", log, seed) for seed in (0, 1, 2)]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 3
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    counts = [tuple(map(int, child.communicate(timeout=60)[0].split())) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(inferences for _, inferences in counts) == 40
    assert sum(hits for hits, _ in counts) == 3 * 40 - 40
    assert sorted(log.read_text().split()) == sorted(f"{n}.jpg" for n in range(40))
    assert min(inferences for _, inferences in counts) > 0, "they did run side by side"


def test_the_locks_of_a_killed_process_are_free(tmp_path):
    child = _start(tmp_path / "c", tmp_path / "log", -1)
    assert child.stdout.readline() == "holding\n"
    child.kill()
    child.wait(timeout=20)
    child.stdout.close(), child.stdin.close()
    began = time.monotonic()
    assert DisparityCache(tmp_path / "c").get_or_infer(*photos_of([1]), Brightness(tmp_path / "log"))[1:] == (0, 1)
    assert time.monotonic() - began < 5


def test_a_hung_holder_is_not_waited_for_for_ever(tmp_path, caplog):
    estimator = Brightness(tmp_path / "log")
    images, digests, paths = photos_of([1])
    lock = CacheKey(image=digests[0], estimator=estimator.digest, size_hw=(H, W)).lock(tmp_path)
    lock.parent.mkdir()
    with FileLock(lock):
        cache = DisparityCache(tmp_path, lock_wait_s=0.2)
        assert cache.get_or_infer(images, digests, paths, estimator)[1:] == (0, 1)
    assert "inferring it here too" in caplog.text

"""F6: an image that kills its decoder is set aside after three tries; nothing else ever is."""

import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

from depthbox.core.errors import InputError
from depthbox.data.decode import BadImage
from depthbox.data.quarantine import DecodeGuard, Quarantine, share_error

CHILD = """
import os, sys
from depthbox.data.quarantine import DecodeGuard
with DecodeGuard(sys.argv[1]).watching(sys.argv[2]):
    print("decoding", flush=True)
    {}
"""


def child(folder, path: str, act: str) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD.format(act), str(folder), path]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_f6_an_image_that_kills_its_decoder(tmp_path):
    for death in ("os._exit(139)", "os.kill(os.getpid(), 11)", "os.kill(os.getpid(), 9)"):
        decoder = child(tmp_path, "killer.jpg", death)
        assert decoder.communicate(timeout=60)[0] == "decoding\n" and decoder.returncode
    fourth = child(tmp_path, "killer.jpg", "pass")
    assert "killed its decoder 3 times" in fourth.communicate(timeout=60)[1]
    guard = DecodeGuard(tmp_path)
    with (
        pytest.raises(BadImage, match=r"killer.jpg: killed its decoder 3 times") as error,
        guard.watching("killer.jpg"),
    ):
        raise AssertionError("decoded a killer")
    assert str(tmp_path) in error.value.reason
    with guard.watching("innocent.jpg"):
        pass


def test_a_decode_that_ends_forgives_and_leaves_nothing(tmp_path):
    assert child(tmp_path, "a.jpg", "os._exit(1)").wait(60) == 1 and len(os.listdir(tmp_path)) == 1
    guard = pickle.loads(pickle.dumps(DecodeGuard(tmp_path)))
    with guard.watching("a.jpg"):
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == []
    with pytest.raises(BadImage, match="damaged"), guard.watching("a.jpg"):
        raise BadImage("a.jpg", "damaged")
    assert os.listdir(tmp_path) == []


def test_living_decoders_of_the_same_image_are_no_deaths(tmp_path):
    living = [child(tmp_path, "a.jpg", "sys.stdin.read()") for _ in range(3)]
    try:
        assert [decoder.stdout.readline() for decoder in living] == ["decoding\n"] * 3
        with DecodeGuard(tmp_path).watching("a.jpg"):
            assert len(os.listdir(tmp_path)) == 4
    finally:
        for decoder in living:
            decoder.communicate("", timeout=60)
    assert os.listdir(tmp_path) == []


def test_many_threads_decode_the_same_image(tmp_path):
    guard, failed = DecodeGuard(tmp_path), []

    def work():
        try:
            for _ in range(50):
                with guard.watching("a.jpg"):
                    pass
        except BadImage as bad:
            failed.append(bad)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and os.listdir(tmp_path) == []


def test_the_guard_is_cheap_and_survives_a_lost_folder(tmp_path):
    guard, times = DecodeGuard(tmp_path / "markers"), []
    for _ in range(50):
        start = time.perf_counter()
        with guard.watching("a.jpg"):
            pass
        times.append(time.perf_counter() - start)
    assert min(times) < 0.002
    os.rmdir(guard.folder)
    with guard.watching("a.jpg"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be created"):
        DecodeGuard(tmp_path / "file" / "below")


def test_share_error():
    lost = [Quarantine(path="/data/a.jpg", reason="the file is empty (0 bytes)"), Quarantine(path="b", reason="c")]
    assert share_error(200, lost, allowed_share=0.01) is None and share_error(0, [], allowed_share=0.0) is None
    error = share_error(199, lost, allowed_share=0.01)
    assert isinstance(error, InputError) and "/data/a.jpg: 2 of 199 images" in str(error) and "0 bytes" in str(error)
    assert "allowed 1.0%" in str(error) and share_error(5, lost[:1], allowed_share=0.0) is not None

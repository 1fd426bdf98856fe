"""Selection over real photos: one of each kind first, a student's trouble where it has seen nothing, and the command as a whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthbox.cli import main
from depthbox.core.errors import UsageError
from depthbox.data.scenes import render_scene
from depthbox.depth.builtin import BuiltinDepth
from depthbox.depth.features import decoder_features
from depthbox.train.selection import Pool, choose, read_pool


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four copies, a little noisy, of each of three scenes: kinds a, b, c."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number, kind in enumerate("abc"):
        scene = render_scene("selection", number, seed=0, size_hw=(96, 128)).image.astype(float)
        for copy in range(4):
            noisy = np.clip(scene + rng.normal(0, 2, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{kind}{copy}.png")
    return folder


@pytest.fixture(scope="module")
def pool(photos: Path) -> Pool:
    return read_pool(sorted(map(str, photos.iterdir())), BuiltinDepth(), progress=lambda line: None)


def kinds(pool: Pool, picks) -> list[str]:
    return [Path(pool.paths[pick.index]).name[0] for _, pick in picks]


def test_features_are_those_of_the_decoder_at_stride_8(photos: Path):
    image = np.array(Image.open(photos / "a0.png"))
    features, disparity = decoder_features(BuiltinDepth(), image)
    assert features.shape[1:] == (4, 8) and np.isfinite(features).all() and disparity.ndim == 2
    assert np.array_equal(features, decoder_features(BuiltinDepth(), image)[0])


def test_one_of_each_kind_first(pool: Pool):
    assert sorted(kinds(pool, choose(pool, 3, by="diversity"))) == ["a", "b", "c"]
    assert sorted(kinds(pool, choose(pool, 2, by="diversity", labelled=[0]))) == ["b", "c"]


def test_both_ask_a_student_in_the_second_round_and_repeat(pool: Pool):
    picks = choose(pool, 4, by="both", steps=3)
    assert [number for number, _ in picks] == [1, 1, 2, 2]
    assert [pick.disagreement > 0 for _, pick in picks] == [False, False, True, True]
    assert picks == choose(pool, 4, by="both", steps=3)


def test_more_than_there_are_is_refused(pool: Pool):
    with pytest.raises(UsageError, match="12 photos can be read, 2 of which are labelled; allowed are 1 to 10"):
        choose(pool, 11, by="both", labelled=[0, 1])


def test_the_command_writes_a_list_and_a_page(photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "had.txt").write_text("a0.png\n")
    words = [
        f"images={photos}",
        "count=2",
        "by=diversity",
        f"labelled={tmp_path / 'had.txt'}",
        f"out={tmp_path / 'out'}",
    ]
    assert main(["select", *words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = [row["name"] for row in answer["selected"]]
    assert sorted(name[0] for name in names) == ["b", "c"] and answer["images"] == 12
    assert (tmp_path / "out" / "selected.txt").read_text().splitlines() == names
    page = (tmp_path / "out" / "selected.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and page.count("<span>distance") == 2 and "http" not in page
    assert "Of 12 photos, 1 of which have labels, chosen by diversity" in page and "Disagreement" not in page


def test_words_for_what_cannot_be(photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "wrong.txt").write_text("zz.png\nyy.png\n")
    for extra, status, said in (
        (["count=2"], 2, "out= is needed"),
        (["count=0", f"out={tmp_path}"], 2, "count=0"),
        (["count=2", f"out={tmp_path}", "depth.source=none"], 2, "selection looks into a depth network"),
        (["count=2", f"out={tmp_path}", f"labelled={tmp_path / 'wrong.txt'}"], 1, "zz.png is no photo of images=, nor are 1 more"),
    ):  # fmt: skip
        assert main(["select", f"images={photos}", *extra]) == status
        assert said in capsys.readouterr().err

"""`depthbox data split`, and the lists it writes, as a user meets them."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import depthbox
from tiny_city import write_tiny_city
from tiny_data import write_tiny_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_data(tmp_path_factory.mktemp("tiny"), images=20)
    shutil.copytree(folder / "val", folder / "bare")
    return folder


def answered(*words: object) -> tuple[int, str, str]:
    answer = depthbox(*words)
    return answer.status, answer.out, answer.err


def train_set(root: Path) -> list[str]:
    return [f"data.root={root}", "data.train.images=train", "data.train.annotations=masks_train.json"]


def test_a_split_is_written_and_its_use_is_said(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "below" / "five.txt"
    words = ["data", "split", *train_set(data), "percent=10", "seed=3", f"out={file}"]
    status, out, _ = answered(*words, "--json")
    answer = json.loads(out.splitlines()[-1])
    assert status == 0 and answer["labelled"] == 2 and answer["images"] == 20 and answer["out"] == str(file)
    assert [int(line) for line in file.read_text().splitlines()] == answer["ids"]
    assert answered(*words)[0] == 0, "the same again"
    status, out, _ = answered(*words[:-2], "seed=4", f"out={tmp_path / 'other.txt'}")
    assert status == 0 and f"2 of 20 images (10 %, seed 4): data.train.labelled={tmp_path / 'other.txt'}" in out
    assert (tmp_path / "other.txt").read_text() != file.read_text()
    status, _, err = answered(*words[:-2], "seed=5", f"out={file}")
    assert status == 1 and "holds something else" in err
    (tmp_path / "one.txt").unlink(missing_ok=True)
    status, out, _ = answered("data", "split", *train_set(data), "percent=1", f"out={tmp_path / 'one.txt'}")
    assert status == 0 and ("without an object of ellipse" in out or "without an object of box" in out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["percent=5"], "percent= and out= are needed"),
        (["out=x.txt"], "percent= and out= are needed"),
        (["percent=120", "out=x.txt"], "percent=120: allowed is above 0, up to 100"),
        (["percent=five", "out=x.txt"], "takes float"),
        (["percnt=5", "out=x.txt"], "did you mean percent?"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(data: Path, words: list[str], said: str) -> None:
    status, out, err = answered("data", "split", *train_set(data), *words)
    assert (status, out) == (2, "") and said in err and len(err.strip().splitlines()) == 1


def test_streets_have_splits_too(tmp_path: Path) -> None:
    city = write_tiny_city(tmp_path / "city", photos=20)
    words = [f"data.root={city}", "data.train.images=leftImg8bit/train", "data.train.annotations=gtFine/train"]
    for percent, count in ((5, 1), (10, 2), (20, 4), (30, 6)):
        file = city / f"{percent}.txt"
        assert answered("data", "split", *words, f"percent={percent}", f"out={file}")[0] == 0
        lines = file.read_text().splitlines()
        assert len(lines) == count and all(line.startswith("aachen_") for line in lines)
    assert answered("data", "validate", *words, "data.train.labelled=20.txt")[0] == 0


def test_validate_looks_at_the_lists_and_at_photos_without_annotations(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    (root / "bare" / "broken.png").write_bytes(b"")
    (root / "wrong.txt").write_text("1\n99\n")
    words = [
        "data",
        "validate",
        *train_set(root),
        "data.val.images=val",
        "data.val.annotations=masks_val.json",
        "--json",
    ]
    assert answered(*words)[0] == 0
    status, out, _ = answered(*words, "data.train.labelled=wrong.txt", "data.unlabelled.images=bare")
    findings = json.loads(out.splitlines()[-1])["findings"]
    assert status == 1 and len(findings) == 3
    unknown, broken, leak = sorted(findings, key=lambda f: ("wrong.txt" not in f, "broken" not in f))
    assert "1 of 2 images are not in" in unknown and "broken.png: the file is empty" in broken
    assert "20 photos of" in leak and "val/000.png = " in leak
    status, out, _ = answered(*words, "data.unlabelled.images=nowhere")
    assert status == 1 and "nowhere: there is no such folder" in out

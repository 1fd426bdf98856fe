"""What a submission refuses before it asks any cluster; the rest is in tests/fault/test_cluster.py."""

import importlib.util
import stat
from pathlib import Path

import pytest

from depthbox.cli import main
from depthbox.core.errors import UsageError
from depthbox.submit import entrypoint

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_job_is_the_same_command_quoted_for_a_shell() -> None:
    line = entrypoint(["train", "box_depth", "data.root=/my photos", "out=/runs/one"])
    assert line == "python -m depthbox train box_depth 'data.root=/my photos' out=/runs/one"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "box_depth"], "out= is needed"),
        (["train", "box_depth", "out=runs/one"], "out=runs/one: a job has a folder of its own"),
        (["train", "box_depth", "out=/runs/one", "data.root=photos"], "data.root=photos: a job has"),
    ],
)
def test_paths_that_would_vanish_with_the_job_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        entrypoint(words)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["address=http://127.0.0.1:1", "doctor"], 1, "127.0.0.1:1: does not answer"),
        (["address=127.0.0.1:6379", "doctor"], 2, "jobs go to the dashboard"),
        (["working_dir=nowhere", "doctor"], 2, "there is no such folder"),
        (["wait=no"], 2, "which command?"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a submission sets for its process must not reach the next test.
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert main(["submit", *words]) == status
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_a_token_is_made_once_and_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("local_cluster_script", REPOSITORY / "cluster" / "local.py")
    assert spec is not None and spec.loader is not None
    local = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(local)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "deep" / "token"))
    first = local.token_file().read_text()
    assert len(first) == 64 and stat.S_IMODE(local.token_file().stat().st_mode) == 0o600
    local.token_file().chmod(0o644)
    assert local.token_file().read_text() == first and stat.S_IMODE(local.token_file().stat().st_mode) == 0o600

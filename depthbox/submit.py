"""[Ray] A command of depthbox as a job of a Ray cluster, through its Jobs API."""

import asyncio
import logging
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.errors import InputError, UsageError

__all__ = ["Submission", "entrypoint", "follow", "submit"]

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
WRITERS = ("train", "demo", "ablate", "sweep")
"""Commands whose run folder must outlive the job: a job's own folder is removed by Ray."""
PLACES = ("out", "data.root", "depth.cache", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job that Ray has accepted."""

    id: str
    address: str


def entrypoint(words: Sequence[str]) -> str:
    """The shell line of the job. Raises `UsageError` where a path would point into the job's own, temporary folder."""
    places = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    for name in PLACES:
        value = places.get(name, "")
        if value and not value.startswith("/") and "://" not in value:
            raise UsageError(f"{name}={value}: a job has a folder of its own; give a path that every node sees, from /")
    if words[0] in WRITERS and not places.get("out"):
        raise UsageError("out= is needed: a folder that every node sees and that outlives the job, from /")
    return shlex.join(["python", "-m", "depthbox", *words])


def submit(words: Sequence[str], *, address: str, working_dir: str) -> Submission:
    """Send `depthbox WORDS` to the cluster whose dashboard is at `address`; `working_dir` is packed and sent along ("none": not).

    Raises `InputError` in words where the cluster does not answer, wants a token, or does not take the folder.
    """
    line, place = entrypoint(words), _address(address)
    environment = {} if working_dir == "none" else {"working_dir": _folder(working_dir)}
    client = _client(place)
    try:
        job = client.submit_job(entrypoint=line, runtime_env=environment)
    except (RuntimeError, ValueError) as error:
        next_step = "a folder above 512 MiB is not sent: name what to leave out in .gitignore, or give working_dir=none"
        too_large = "size" in str(error).lower()
        cause = f"the job is not taken ({_first_line(error)})"
        raise InputError(
            working_dir if too_large else place,
            "",
            cause,
            next_step if too_large else "is the cluster well? `ray status`",
        ) from error
    return Submission(id=job, address=place)


def follow(job: Submission, write: Callable[[str], object]) -> int:
    """Pass the job's output on until it ends; its exit status, or 1 where it was stopped."""
    client = _client(job.address)

    async def pass_on() -> None:
        async for text in client.tail_job_logs(job.id):
            write(text)

    asyncio.run(pass_on())
    details = client.get_job_info(job.id)
    return 0 if details.status.value == "SUCCEEDED" else details.driver_exit_code or 1


def _client(address: str):
    # Ray prefers these variables to an address that it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    if _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for handler in logging.getLogger("ray").handlers:
        if type(handler).__module__.startswith("ray."):  # says every file that is packed or left out
            handler.setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        next_step = "put the cluster's token into ~/.ray/auth_token (mode 0600) or RAY_AUTH_TOKEN, RAY_AUTH_MODE=token"
        raise InputError(address, "", f"wants another token ({_first_line(error)})", next_step) from error
    except ConnectionError as error:
        next_step = "is the cluster up (`python cluster/local.py`, `ray up`), and its dashboard forwarded to here?"
        raise InputError(address, "", f"does not answer ({_first_line(error)})", next_step) from error


def _address(asked: str) -> str:
    found = asked or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    if not found.startswith(("http://", "https://")):
        raise UsageError(f"address={found}: jobs go to the dashboard, such as {DEFAULT_ADDRESS}")
    return found.rstrip("/")


def _folder(working_dir: str) -> str:
    if "://" not in working_dir and not Path(working_dir).is_dir():
        raise UsageError(f"working_dir={working_dir}: there is no such folder; `none` sends nothing")
    return working_dir


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(named or Path.home() / ".ray" / "auth_token").is_file()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

"""What is wrong with an installation, a GPU, a Ray address or a tracking store, in words, and what to do about it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from depthbox.tracking.calls import said
from depthbox.tracking.store import http_state, schema_state, sqlite_path, tracking_uri
from depthbox.tracking.words import redacted

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Check", "diagnose", "render"]

ANSWER_S = 3.0
GIB = 2**30
NEEDED = ("torch", "torchvision", "timm", "transformers", "numpy", "pillow", "safetensors", "scipy")
REPAIR_TORCH = "run `uv sync`, or install torch and torchvision together, from one and the same package index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `ok` is None for what is neither right nor wrong, such as a machine without a GPU."""

    name: str
    ok: bool | None
    says: str
    next_step: str = ""


def diagnose(*, uri: str | None, ray_address: str | None) -> list[Check]:
    """All checks, none of which raises or waits longer than about 3 s; a network is touched only where one is named."""
    checks: dict[str, Callable[[], Check | list[Check]]] = {
        "python": _python,
        "packages": _packages,
        "torch": _torch_pair,
        "gpu": _gpu,
        "cpu": _cpu,
        "memory": _memory,
        "disk": _disk,
        "data": _data_root,
        "ray": lambda: _ray(ray_address),
        "ray login": _ray_login,
        "uv": _uv_hook,
        "mlflow": lambda: _mlflow(uri),
    }
    found: list[Check] = []
    for name, check in checks.items():
        try:
            result = check()
        except Exception as error:
            result = Check(name=name, ok=False, says=f"cannot be checked: {said(error)}")
        found += result if isinstance(result, list) else [result]
    return found


def render(checks: list[Check]) -> str:
    """Aligned plain lines: mark, name, finding; below a finding its next step. Ends with a count."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = {True: "ok", False: "NO", None: "--"}[check.ok]
        lines.append(f"{mark}  {check.name:<{width}}  {check.says}")
        if check.next_step:
            lines.append(f"{'':<{width + 6}}next: {check.next_step}")
    wrong = sum(check.ok is False for check in checks)
    lines.append("nothing is wrong" if not wrong else f"{wrong} of {len(checks)} findings need attention")
    return "\n".join(lines)


def _python() -> Check:
    says = f"{platform.python_version()} at {sys.executable}"
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(name="python", ok=fits, says=says, next_step="" if fits else "use Python 3.11, 3.12 or 3.13")


def _packages() -> list[Check]:
    """Every requirement of depthbox against what is installed; the floors are those of the package's own metadata."""
    from packaging.requirements import Requirement

    try:
        listed = [Requirement(line) for line in importlib.metadata.requires("depthbox") or []]
    except importlib.metadata.PackageNotFoundError:
        return [Check(name="packages", ok=None, says="depthbox runs from its source, without package metadata")]
    wanted = [requirement for requirement in listed if not requirement.marker or requirement.marker.evaluate()]
    wrong = [check for check in map(_package, wanted) if check is not None]
    return [Check(name="packages", ok=True, says=f"{len(wanted) - len(wrong)} of {len(wanted)} as needed"), *wrong]


def _package(requirement: "Requirement") -> Check | None:
    name = requirement.name
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if name in NEEDED:
            return Check(name=name, ok=False, says="is not installed", next_step="run `uv sync`")
        return Check(name=name, ok=None, says="is not installed; launcher=local trains without it")
    if requirement.specifier.contains(version, prereleases=True):
        return None
    says = f"is {version}, needed is {requirement.specifier}"
    return Check(name=name, ok=False, says=says, next_step="run `uv sync`")


def _torch_pair() -> Check:
    """torch and torchvision work together only from one build; the sign is an operator that torch does not know."""
    says = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "torchvision"))
    try:
        import torch
        import torchvision.ops

        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        pair = f"{says} are not of one build" if "nms" in str(error) else f"{says} do not load"
        return Check(name="torch", ok=False, says=f"{pair} ({said(error)})", next_step=REPAIR_TORCH)
    return Check(name="torch", ok=True, says=f"{says}, one build")


def _gpu() -> Check:
    import torch

    there = any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/dxg")) or shutil.which("nvidia-smi") is not None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if not usable:
        return _no_gpu(there, torch.version.cuda, str(caught[0].message)[:200] if caught else "no reason given")
    try:
        torch.ones(1, device="cuda").add_(1).item()
    except RuntimeError as error:
        says = f"{torch.cuda.get_device_name(0)}: no computation runs ({said(error)})"
        return Check(
            name="gpu", ok=False, says=says, next_step="end what else uses it, or install a build for its type"
        )
    free, total = torch.cuda.mem_get_info(0)
    count, bf16 = torch.cuda.device_count(), "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
    says = f"{count} x {torch.cuda.get_device_name(0)}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, {bf16}"
    return Check(name="gpu", ok=True, says=says)


def _no_gpu(there: bool, cuda: str | None, reason: str) -> Check:
    if not there:
        return Check(name="gpu", ok=None, says="none; training runs on the CPU")
    if cuda is None:
        says, next_step = "torch is built for the CPU alone", "install torch and torchvision of a CUDA build"
    else:
        says, next_step = f"torch (CUDA {cuda}) cannot use it ({reason})", "try nvidia-smi: driver, then container"
    return Check(name="gpu", ok=False, says=f"the machine has one, {says}", next_step=next_step)


def _cpu() -> Check:
    """Cores this process may use (affinity and container quota), and whether they compute bf16 (twice as fast)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _limit(Path("/sys/fs/cgroup/cpu.max"))
    usable = min(float(cores), quota or float(cores))
    words = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    fast = "/".join(sorted({"avx512_bf16", "amx_bf16", "bf16"}.intersection(words)))
    says = f"{usable:g} cores, {f'bf16 by {fast}' if fast else 'no bf16, training uses fp32'}"
    return Check(name="cpu", ok=True if usable > 1 else None, says=says)


def _memory() -> list[Check]:
    """Main memory within the container's limit, and /dev/shm, where Ray keeps its objects."""
    import psutil

    memory = psutil.virtual_memory()
    total = min(memory.total, _limit(Path("/sys/fs/cgroup/memory.max")) or memory.total)
    hint = "the demo needs 5 GiB: close other programs"
    found = [_room("memory", min(memory.available, total), total, at_least=5 * GIB, hint=hint)]
    if Path("/dev/shm").is_dir():
        shared = shutil.disk_usage("/dev/shm")
        hint = "start a container with --shm-size=4g: Ray keeps its objects there"
        found.append(_room("/dev/shm", shared.free, shared.total, at_least=GIB, hint=hint))
    return found


def _disk() -> list[Check]:
    usages = {"disk here": shutil.disk_usage(Path.cwd()), "disk /tmp": shutil.disk_usage(tempfile.gettempdir())}
    hint = "free some: a run needs about 2 GiB"
    return [_room(name, usage.free, usage.total, at_least=2 * GIB, hint=hint) for name, usage in usages.items()]


def _room(name: str, free: float, total: float, *, at_least: float, hint: str) -> Check:
    """Little room is no fault (None); next to none is."""
    ok = True if free >= at_least else None if free >= at_least / 4 else False
    return Check(name=name, ok=ok, says=f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", next_step="" if ok else hint)


def _data_root() -> Check:
    root = os.environ.get("DEPTHBOX_DATA")
    if not root:
        return Check(name="data", ok=None, says="DEPTHBOX_DATA is not set; data.root=DIR names the folder of a run")
    if Path(root).is_dir():
        return Check(name="data", ok=True, says=f"DEPTHBOX_DATA={root}")
    return Check(
        name="data", ok=False, says=f"DEPTHBOX_DATA={root} is no folder", next_step="set it to one, or unset it"
    )


def _ray(address: str | None) -> Check:
    """Whether something listens at the address; `auto` is looked up as Ray does. Ray itself is not started."""
    if address is None or address == "local":
        return Check(name="ray", ok=None, says="no address: a run starts a Ray of its own on this machine")
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    at_hand = os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "")
    found = at_hand if address == "auto" else address
    if not found:
        says = "auto: no Ray runs on this machine, and RAY_ADDRESS is not set"
        return Check(name="ray", ok=False, says=says, next_step="`ray start --head`, or name the address")
    parts = urlsplit(found if "://" in found else f"//{found}")
    port = parts.port or {"ray": 10001, "http": 80, "https": 443}.get(parts.scheme, 6379)
    says = f"{redacted(found)}: port {port}"
    try:
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER_S).close()
    except OSError as error:
        next_step = "is the cluster up, and this port open to here? 6379 joins it, 10001 is ray://, 8265 takes jobs"
        return Check(name="ray", ok=False, says=f"{says} does not answer ({said(error)})", next_step=next_step)
    return Check(name="ray", ok=True, says=f"{says} answers")


def _ray_login() -> Check:
    """A token file makes new heads ask for the token, and a client without RAY_AUTH_MODE=token is answered 401."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    token = bool(os.environ.get("RAY_AUTH_TOKEN")) or file.is_file()
    if token and mode == "":
        says = "there is a token, RAY_AUTH_MODE is not set: `ray job submit` may be answered 401"
        return Check(name="ray login", ok=None, says=says, next_step="export RAY_AUTH_MODE=token")
    if mode == "token" and not token:
        says = "RAY_AUTH_MODE=token, but there is no token"
        return Check(name="ray login", ok=False, says=says, next_step="run `ray get-auth-token --generate`")
    return Check(name="ray login", ok=True, says=f"RAY_AUTH_MODE={mode}" if mode else "no token, no login")


def _uv_hook() -> Check:
    """Ray repeats `uv run` in every worker unless told not to; depthbox tells it, a script of one's own must."""
    if os.environ.get("RAY_ENABLE_UV_RUN_RUNTIME_ENV") == "0" or "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return Check(name="uv", ok=True, says="Ray's workers use this Python")
    says = "started by `uv run`: a Ray script of your own would run uv again in every worker"
    return Check(name="uv", ok=None, says=says, next_step="export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 before it")


def _mlflow(uri: str | None) -> Check:
    if uri == "none":
        return Check(name="mlflow", ok=None, says="tracking.uri=none: nothing is tracked")
    if importlib.util.find_spec("mlflow") is None:
        return Check(name="mlflow", ok=None, says="is not installed: nothing is tracked")
    uri = tracking_uri(uri)
    database = sqlite_path(uri)
    if database is not None:
        return _database(database)
    if not uri.startswith(("http://", "https://")):
        return Check(name="mlflow", ok=None, says=f"{redacted(uri)}: not tried")
    answers, says = http_state(uri, wait_s=ANSWER_S)
    next_step = "start the server; credentials belong into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return Check(name="mlflow", ok=answers, says=f"{redacted(uri)}: {says}", next_step="" if answers else next_step)


def _database(database: Path) -> Check:
    """A sqlite store: whether it, or the nearest folder that exists, can be written, and whether its tables fit."""
    place = next(path for path in (database, *database.parents) if path.exists())
    if not os.access(place, os.W_OK) or (place != database and not place.is_dir()):
        says = f"{database}: {'the file' if place == database else place} cannot be written"
        return Check(name="mlflow", ok=False, says=says, next_step="give tracking.uri=sqlite:///FILE in another folder")
    try:
        state = schema_state(database)
    except sqlite3.Error as error:
        says = f"{database}: {said(error)}"
        return Check(name="mlflow", ok=False, says=says, next_step="move the file away, or give another")
    meaning = {
        "missing": (None, "not there yet, the first run creates it", ""),
        "empty": (None, "empty, the first run creates its tables", ""),
        "current": (True, "its tables fit the installed MLflow", ""),
        "older": (None, "its tables are of an older MLflow; the next run copies and migrates it", ""),
        "newer": (False, "its tables are of a newer MLflow", "update mlflow, or give another file"),
        "foreign": (False, "is a database, but not one of MLflow", "give another file"),
    }
    ok, says, next_step = meaning[state]
    return Check(name="mlflow", ok=ok, says=f"{database}: {says}", next_step=next_step)


def _limit(path: Path) -> float | None:
    """A container's limit: "200000 100000" means 2 cores, "1024" bytes; None where there is none."""
    words = path.read_text().split() if path.is_file() else []
    if not words or not words[0].isdigit():
        return None
    return float(words[0]) / float(words[1] if len(words) > 1 else 1)

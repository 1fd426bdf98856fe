"""The place a run is tracked in: which URI, created once, migrated once, and what is wrong with it."""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import sqlite3
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking.calls import said
from depthbox.tracking.words import redacted

__all__ = [
    "artifact_root",
    "http_state",
    "prepare_store",
    "quiet_mlflow",
    "schema_state",
    "sqlite_path",
    "tracking_uri",
]

log = logging.getLogger("depthbox.tracking")

LOCK_WAIT_S = 120.0
Schema = Literal["missing", "empty", "current", "older", "newer", "foreign"]

REVISION_LINE = re.compile(r"^(down_)?revision\b[^=\n]*=(.*)$", re.MULTILINE)

QUIET_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is said once, by depthbox, without credentials
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox retries; a call itself never hangs
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def quiet_mlflow() -> None:
    """Before the first `import mlflow`: no telemetry, no chatter, no call that hangs; what the user has set stays."""
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def tracking_uri(uri: str | None, *, out: Path | None = None) -> str:
    """The URI to use, valid from any working directory: `uri`, or `sqlite:///<out>/mlflow.db` where none is given.

    Raises `UsageError` for a folder or an unfinished URI: MLflow's file store is no longer maintained.
    """
    uri = uri or f"sqlite:///{(out or Path.cwd()) / 'mlflow.db'}"
    if uri in ("none", "databricks"):
        return uri
    scheme, colon, rest = uri.partition("://")
    if not colon or scheme in ("", "file"):
        raise UsageError(
            f"tracking.uri={redacted(uri)}: not a tracking URI; allowed: sqlite:///FILE, http(s)://HOST:PORT, none,"
            " or a database URI (MLflow's folder store is no longer maintained)"
        )
    if scheme != "sqlite":
        return uri
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UsageError(
            f"tracking.uri={uri}: sqlite needs a file: sqlite:///relative/file.db or sqlite:////absolute/file.db"
        )
    return f"sqlite:///{Path(rest[1:]).expanduser().absolute()}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of a sqlite URI, else None."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def artifact_root(uri: str, *, out: Path | None = None) -> str | None:
    """Where artefacts lie: beside a sqlite file, under `out` for another database; None where a server decides."""
    if uri.startswith(("http://", "https://")) or uri == "databricks":
        return None
    database = sqlite_path(uri)
    return str((database.parent if database else (out or Path.cwd()).absolute()) / "mlartifacts")


def prepare_store(uri: str | None, *, out: Path | None = None) -> str:
    """Create or migrate the store exactly once, whoever calls first; returns the absolute URI to give to every process.

    A new sqlite database is built beside its place and moved there whole: neither six processes at once nor a kill
    half-way leave a broken one. An older one is copied to `<file>.before-<revision>.bak` before it is migrated.
    Without MLflow the answer is "none", with one line in the log.
    """
    uri = tracking_uri(uri, out=out)
    database = sqlite_path(uri)
    if uri == "none" or database is None:
        return uri
    quiet_mlflow()
    if _mlflow_folder() is None:
        log.warning("the run is not tracked: mlflow is not installed")
        return "none"
    import filelock

    try:
        if schema_state(database) == "current":
            return uri
        database.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{database}.lock", timeout=LOCK_WAIT_S):
            _create_or_migrate(database, uri)
    except filelock.Timeout:
        raise InputError(database, "", f"another process has held its lock for {LOCK_WAIT_S:.0f} s", "end it") from None
    except (OSError, sqlite3.Error) as error:
        raise InputError(database, "", str(error), "name a file you can write: tracking.uri=sqlite:///FILE") from error
    return uri


def schema_state(database: Path) -> Schema:
    """How the tables of a sqlite file compare with what the installed MLflow needs; never creates or writes the file.

    Raises `sqlite3.Error` where the file is no sqlite database.
    """
    if not database.is_file():
        return "missing"
    tables, revision = _tables_and_revision(database)
    if not tables:
        return "empty"
    if revision is None:
        return "foreign"
    newest, known = _revisions()
    if revision in newest:
        return "current"
    return "older" if revision in known else "newer"


def http_state(uri: str, *, wait_s: float = 3.0) -> tuple[bool, str]:
    """Whether a tracking server answers within `wait_s` seconds, and what it says, without its credentials."""
    import requests

    try:
        answer = requests.get(uri.rstrip("/") + "/health", timeout=wait_s)
    except requests.RequestException as error:
        return False, f"no answer within {wait_s:.0f} s ({type(error).__name__})"
    if answer.status_code in (401, 403):
        return False, f"the server refuses the credentials (HTTP {answer.status_code})"
    return answer.status_code < 500, f"the server answers (HTTP {answer.status_code})"


def _create_or_migrate(database: Path, uri: str) -> None:
    state = schema_state(database)
    if state == "current":
        return
    if state == "foreign":
        raise InputError(database, "", "a sqlite database, but not one of MLflow", "give another tracking.uri")
    if state == "newer":
        raise InputError(database, "", "written by a newer MLflow than the installed one", "update mlflow")
    if state == "older":
        _migrate(database, uri)
    else:
        _create(database)


def _create(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    unfinished = database.with_name(f".{database.name}.{os.getpid()}.new")
    try:
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", str(database.parent / "mlartifacts"))
        store.engine.dispose()
        unfinished.replace(database)
    except Exception as error:
        raise InputError(
            database, "", f"cannot become a tracking store: {said(error)}", "see `depthbox doctor`"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _migrate(database: Path, uri: str) -> None:
    import mlflow.db

    backup = database.with_name(f"{database.name}.before-{_tables_and_revision(database)[1]}.bak")
    shutil.copy2(database, backup)
    try:
        mlflow.db.upgrade.callback(uri)  # type: ignore[misc]
    except Exception as error:
        shutil.copy2(backup, database)
        raise InputError(
            database, "", f"cannot be migrated: {said(error)}", "it is as it was; give another file"
        ) from error


def _tables_and_revision(database: Path) -> tuple[list[str], str | None]:
    read_only = f"file:{quote(str(database))}?mode=ro"
    with contextlib.closing(sqlite3.connect(read_only, uri=True, timeout=20.0)) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        if "alembic_version" not in tables:
            return tables, None
        row = connection.execute("select version_num from alembic_version").fetchone()
        return tables, row[0] if row else None


def _mlflow_folder() -> Path | None:
    """Where MLflow is installed; it is not imported."""
    try:
        found = importlib.util.find_spec("mlflow")
    except (ImportError, ValueError):
        return None
    return Path(found.origin).parent if found is not None and found.origin else None


@lru_cache(maxsize=1)
def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """The newest and all table revisions of the installed MLflow, read as text: importing its migrations takes 5 s."""
    known: set[str] = set()
    replaced: set[str] = set()
    for file in ((_mlflow_folder() or Path()) / "store/db_migrations/versions").glob("*.py"):
        for down, value in REVISION_LINE.findall(file.read_text(encoding="utf-8")):
            (replaced if down else known).update(re.findall(r"[\"'](\w+)[\"']", value))
    return frozenset(known - replaced), frozenset(known)

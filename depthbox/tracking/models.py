"""Models in a tracking store: fetched by run id or registered name as a safetensors file that is not loaded here, and registered for serving."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from depthbox.core.errors import InputError, UsageError
from depthbox.tracking.calls import StoreAway, StoreRefused, patiently, said
from depthbox.tracking.store import prepare_store, quiet_mlflow, sqlite_path
from depthbox.tracking.words import redacted

__all__ = ["Servable", "Version", "fetched_model", "is_stored", "register_model"]

RUN_ID = re.compile(r"(?:runs:/)?([0-9a-f]{32})")
REGISTERED = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))")
WAIT_S = 10.0
CHAMPION, SERVABLE = "champion", "servable"


def is_stored(place: str) -> bool:
    """Whether `place` names something in a store (a run id, runs:/ID, models:/NAME@ALIAS), not something on disk."""
    return place.startswith(("models:", "runs:")) or RUN_ID.fullmatch(place) is not None


@contextmanager
def fetched_model(place: str, uri: str) -> Iterator[Path]:
    """The model of a run or of a registered version, as a safetensors file that is gone after the block.

    Raises `UsageError` for a form that is not known, `InputError` where the store has no such run, version or model.
    """
    run, registered = RUN_ID.fullmatch(place), REGISTERED.fullmatch(place)
    if run is None and registered is None:
        raise UsageError(f"{place}: allowed are a run id, models:/NAME@ALIAS and models:/NAME/VERSION")
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise InputError(database, "", f"no tracking store is here to find {place} in", "give tracking.uri=URI")
    uri = prepare_store(uri)
    quiet_mlflow()
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise InputError(place, "", "mlflow is not installed", "give a run folder or a .safetensors file") from None
    with TemporaryDirectory() as folder:
        try:
            client = MlflowClient(uri)
            if registered is not None:
                version = patiently(lambda: _version(client, *registered.groups()), wait_s=WAIT_S)
                source = client.get_model_version_download_uri(version.name, version.version)
                _download(source, uri, Path(folder))
            elif run is not None:
                patiently(lambda: client.download_artifacts(run[1], "model", folder), wait_s=WAIT_S)
        except (StoreAway, StoreRefused, OSError) as error:
            where = f"no such model in {redacted(uri)} ({said(error)})"
            raise InputError(place, "", where, "check the name and tracking.uri=") from None
        found = sorted(Path(folder).rglob("model.safetensors"))
        if not found:
            raise InputError(place, "", "holds no model.safetensors", "give a finished run of `depthbox train`")
        yield found[0]


def _version(client, name: str, alias: str | None, number: str | None):
    return client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)


def _download(source: str, uri: str, folder: Path) -> None:
    """Without MLflow's global state, which its own `models:/` addresses go by."""
    from mlflow.artifacts import download_artifacts

    patiently(lambda: download_artifacts(source, dst_path=str(folder), tracking_uri=uri), wait_s=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a registered model."""

    name: str
    number: str
    champion: bool
    """Whether it is what models:/NAME@champion names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """A model for MLflow's server: `loader` is the module whose `_load_pyfunc(file)` makes it, `code` the package it is in; nothing is pickled."""

    file: Path
    loader: str
    code: Path
    requirements: tuple[str, ...]
    parameter: tuple[str, float]
    """What a request may say beside its pictures, and what counts where it does not; a whole number takes whole numbers."""


def register_model(name: str, servable: Servable, *, uri: str, run_id: str) -> Version:
    """The version of `name` that is of this run, made where it is not there; the first version becomes the champion.

    It takes pictures as bytes (column "image"; base64 in JSON) and the servable's parameter. Raises `InputError` where the store does not do it.
    """
    quiet_mlflow()
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    try:
        versions = patiently(lambda: _versions(client, name), wait_s=WAIT_S)
        own = next((one for one in versions if one.run_id == run_id), None)
        if own is None:
            place = _logged(client, servable, run_id)
            own = patiently(lambda: client.create_model_version(name, place, run_id=run_id), wait_s=WAIT_S)
        aliases = patiently(lambda: client.get_registered_model(name).aliases, wait_s=WAIT_S)
        if CHAMPION not in aliases:
            patiently(lambda: client.set_registered_model_alias(name, CHAMPION, own.version), wait_s=WAIT_S)
            aliases = {**aliases, CHAMPION: own.version}
    except (StoreAway, StoreRefused) as error:
        raise InputError(
            redacted(uri), f"model {name}", f"cannot be registered: {said(error)}", "give the same command again"
        ) from None
    return Version(name=name, number=str(own.version), champion=str(aliases[CHAMPION]) == str(own.version))


def _versions(client, name: str) -> list:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    return list(client.search_model_versions(f"name = '{name}'"))


def _logged(client, servable: Servable, run_id: str) -> str:
    """The servable as an artefact of the run; its address."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    name, value = servable.parameter
    parameter = ParamSpec(name, "long" if isinstance(value, int) else "double", value)
    signature = ModelSignature(inputs=Schema([ColSpec("binary", "image")]), params=ParamSchema([parameter]))
    with TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            path=f"{folder}/{SERVABLE}",
            loader_module=servable.loader,
            data_path=str(servable.file),
            code_paths=[str(servable.code)],
            signature=signature,
            pip_requirements=list(servable.requirements),
        )
        patiently(lambda: client.log_artifacts(run_id, f"{folder}/{SERVABLE}", SERVABLE), wait_s=60.0)
    return f"{client.get_run(run_id).info.artifact_uri}/{SERVABLE}"

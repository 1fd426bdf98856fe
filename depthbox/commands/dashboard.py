"""`depthbox dashboard [tracking.uri=URI] [port=5000]`: MLflow's pages for the runs of this machine."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError

__all__ = ["DashboardSettings", "Store", "command", "found_store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    tracking: Store = Store()
    host: str = "127.0.0.1"
    port: int = 5000


def command(arguments: argparse.Namespace) -> int:
    asked = vary(DashboardSettings(), parse_overrides(arguments.words))
    from depthbox.tracking import dashboard, redacted

    uri, why = found_store(asked.tracking.uri)
    if not uri:
        raise InputError(
            "out", "", "no mlflow.db lies below it, and no store is named", "train, or give tracking.uri=URI"
        )
    print(f"{redacted(uri)} ({why})", flush=True)
    return dashboard(uri, host=asked.host, port=asked.port)


def found_store(uri: str) -> tuple[str, str]:
    """The store ("" for none) and why this one: `uri`, `$MLFLOW_TRACKING_URI`, the newest mlflow.db below ./out."""
    if uri:
        return uri, "tracking.uri"
    if from_environment := os.environ.get("MLFLOW_TRACKING_URI", ""):
        return from_environment, "$MLFLOW_TRACKING_URI"
    stores = sorted(Path("out").absolute().rglob("mlflow.db"), key=lambda path: path.stat().st_mtime)
    if not stores:
        return "", "nothing below ./out"
    more = f", {len(stores) - 1} more there; choose with tracking.uri=" if len(stores) > 1 else ""
    return f"sqlite:///{stores[-1]}", f"the newest below ./out{more}"

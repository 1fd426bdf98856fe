"""Calls to a tracking store: which failure may pass, how long to ask again, and what to say without credentials."""

import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from depthbox.tracking.words import redacted

__all__ = ["StoreAway", "StoreRefused", "classified", "patiently", "said"]

T = TypeVar("T")

FOR_GOOD = {  # MLflow's error codes that the same call would meet again; everything else may pass
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"),
}


class StoreAway(Exception):
    """The store does not answer now; the same call may succeed later."""


class StoreRefused(Exception):
    """The store answers and will not do it; the same call would be refused again."""


def patiently(action: Callable[[], T], *, wait_s: float) -> T:
    """`action`, asked again while the store is away, for at most `wait_s` seconds."""
    end, pause_s = time.monotonic() + wait_s, 0.2
    while True:
        try:
            return classified(action)
        except StoreAway:
            if time.monotonic() + pause_s > end:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def classified(action: Callable[[], T]) -> T:
    """`action`, with a store's failure as `StoreAway` or `StoreRefused`, whose messages have no credentials."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        return action()
    except MlflowException as error:
        kind = StoreRefused if error.error_code in FOR_GOOD else StoreAway
        raise kind(said(error)) from None
    except requests.HTTPError as error:
        status = 500 if error.response is None else error.response.status_code
        kind = StoreRefused if 400 <= status < 500 and status not in (408, 429) else StoreAway
        raise kind(said(error)) from None
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise StoreAway(said(error)) from None


def said(error: Exception) -> str:
    """The first line of a message, without credentials; of a failed connection or database its innermost cause."""
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None and isinstance(deeper, Exception):
        causes.append(deeper)
    error = causes[-1] if isinstance(causes[-1], OSError | sqlite3.Error) else error
    first = redacted(str(error)).strip().partition("\n")[0]
    name = "" if isinstance(error, StoreAway | StoreRefused) else f"{type(error).__name__}: "
    return f"{name}{first}"[:300]

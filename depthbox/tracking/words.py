"""What may be written into a tracking store: names it accepts, values it can hold, and never a secret (B19)."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["REDACTED", "flat_params", "flat_tags", "redacted", "store_name"]

REDACTED = "[redacted]"
NAME_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000  # characters; what MLflow stores accept

# Up to the last "@": a "/", "?" or "@" that a password holds unescaped must not let its rest through. The price is
# that a path with an "@" behind a port ("http://host:80/a@v1") is shortened too.
USER_PART = re.compile(r"(?<=://)(?:[^\s/@:?#]*:\S*|[^\s/?#]+)@")
SECRET_QUERY = re.compile(
    r"([?&#;](?:[\w.-]*(?:signature|credential)[\w.-]*|sig|key|auth|code)=)[^&#;\s'\"]+", re.IGNORECASE
)
KEYED_SECRET = re.compile(
    r"((?:password|passwd|pwd|passphrase|secret|token|(?:api|access|secret)[-_]?key)['\"]?\s*[:=]\s*['\"]?)"
    r"[^\s'\",;&#}\]]+",
    re.IGNORECASE,
)
BEARER = re.compile(r"\b((?:Bearer|Basic)\s+)[A-Za-z0-9+/._~=-]{8,}", re.IGNORECASE)
KNOWN_TOKENS = re.compile(r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|dapi|sk-|xox[abprs]-|AKIA|ASIA)[A-Za-z0-9_-]{12,}")
PASSWORD_WORDS = {"password", "passwd", "pwd", "passphrase", "secret", "secrets"}
TOKEN_WORDS = {"token", "key", "apikey", "credential", "credentials", "auth", "authorization", "bearer"}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def redacted(text: str) -> str:
    """`text` without credentials: `user:password@` and secret query values of any URI in it, known token shapes.

    >>> redacted("http://ann:pw@host:5000/a?token=abc&page=2")
    'http://[redacted]@host:5000/a?token=[redacted]&page=2'
    """
    text = USER_PART.sub(f"{REDACTED}@", str(text))
    for secret in (SECRET_QUERY, KEYED_SECRET, BEARER):
        text = secret.sub(rf"\1{REDACTED}", text)
    return KNOWN_TOKENS.sub(REDACTED, text)


def flat_params(values: Mapping) -> dict[str, str]:
    """Nested mappings as `{dotted name: text}`, redacted, with long values shortened: what a run's params may hold.

    >>> flat_params({"a": {"b": 1, "api_key": "xyz"}})
    {'a.b': '1', 'a.api_key': '[redacted]'}
    """
    return {store_name(key): _value(key, value, limit=PARAM_LIMIT) for key, value in _leaves(values, "")}


def flat_tags(values: Mapping) -> dict[str, str]:
    """As `flat_params`, with the length a tag may have."""
    return {store_name(key): _value(key, value, limit=TAG_LIMIT) for key, value in _leaves(values, "")}


@lru_cache(maxsize=4096)
def store_name(name: str) -> str:
    """The nearest name MLflow accepts: letters, digits, `_ - . / : space`; no empty, `.` or `..` part; 250 characters.

    >>> store_name("AP@[.5:.95]")
    'AP__.5:.95_'
    """
    clean = re.sub(r"[^/\w.\- :]", "_", str(name))
    parts = [part for part in clean.split("/") if part not in ("", ".", "..")]
    return _shortened("/".join(parts) or "_", NAME_LIMIT)


def _leaves(values: Mapping, prefix: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _leaves(value, f"{name}.")
        else:
            found.append((name, value))
    return found


def _value(name: str, value: object, *, limit: int) -> str:
    if _names_a_secret(name, value):
        return REDACTED
    return _shortened(redacted(str(value)), limit)


def _names_a_secret(name: str, value: object) -> bool:
    """Whether the last part of the dotted name is a word for a secret; a number under "key" or "token" is a setting."""
    if value is None or isinstance(value, bool) or value == "":
        return False
    words = {word.lower() for word in WORD.findall(name.rsplit(".", 1)[-1].rsplit("/", 1)[-1])}
    return bool(words & PASSWORD_WORDS) or (bool(words & TOKEN_WORDS) and not isinstance(value, int | float))


def _shortened(text: str, limit: int) -> str:
    """The head of a long text, its length and a digest, so that two long values stay distinguishable."""
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    note = f"~{digest}" if limit <= NAME_LIMIT else f" ... [{len(text)} characters, sha256 {digest}]"
    return text[: limit - len(note)] + note

"""Files in an object store, by URI, through pyarrow: s3://bucket/folder, gs://..., file:///...

Credentials come from the environment or the machine's role, never from the URI; a server of one's own is
s3://bucket/folder?endpoint_override=HOST:PORT&scheme=http.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from depthbox.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

__all__ = ["RemoteFolder", "is_remote"]


def is_remote(place: str) -> bool:
    return "://" in place


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFolder:
    """A folder below which names are relative, with `/` between. Every method raises `InputError` where the store does not answer."""

    uri: str
    files: "FileSystem"
    path: str

    @classmethod
    def at(cls, uri: str) -> "RemoteFolder":
        """Raises `UsageError` for a URI that pyarrow does not know."""
        from pyarrow.fs import FileSystem

        try:
            files, path = FileSystem.from_uri(uri)
        except (ValueError, OSError) as error:
            forms = "allowed: s3://bucket/folder, gs://bucket/folder, file:///folder"
            raise UsageError(f"{_without_query(uri)}: {str(error).splitlines()[0]}; {forms}") from None
        return cls(uri=uri, files=files, path=path.rstrip("/"))

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name -> bytes of every file below."""
        from pyarrow.fs import FileSelector, FileType

        base = f"{self.path}/{below}".rstrip("/")
        selector = FileSelector(base, recursive=True, allow_not_found=True)
        found = self._asked(lambda: self.files.get_file_info(selector))
        return {entry.path[len(self.path) + 1 :]: entry.size for entry in found if entry.type == FileType.File}

    def has(self, name: str) -> bool:
        from pyarrow.fs import FileType

        (found,) = self._asked(lambda: self.files.get_file_info([f"{self.path}/{name}"]))
        return found.type == FileType.File

    def get(self, name: str, to: Path) -> None:
        """Whole or not at all: under another name until it is complete."""
        part = to.with_name(f".{to.name}-{uuid.uuid4().hex[:8]}.part")
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._asked(lambda: self._read(name, part))
            os.replace(part, to)
        finally:
            part.unlink(missing_ok=True)

    def put(self, file: Path, name: str) -> None:
        self._asked(lambda: self._write(file, name))

    def remove(self, name: str) -> None:
        """Of a file that is there or not."""
        if self.has(name):
            self._asked(lambda: self.files.delete_file(f"{self.path}/{name}"))

    def _read(self, name: str, to: Path) -> None:
        with self.files.open_input_stream(f"{self.path}/{name}") as source, to.open("wb") as target:
            while block := source.read(1 << 22):
                target.write(block)

    def _write(self, file: Path, name: str) -> None:
        target = f"{self.path}/{name}"
        if self.files.type_name == "local":  # an object store has no folders to make
            self.files.create_dir(target.rpartition("/")[0])
        with file.open("rb") as source, self.files.open_output_stream(target) as stream:
            while block := source.read(1 << 22):
                stream.write(block)

    def _asked(self, call):
        try:
            return call()
        except OSError as error:
            cause = f"the store refuses or does not answer ({str(error).splitlines()[0][:300]})"
            next_step = "check the address and the credentials (AWS_ACCESS_KEY_ID, ... or the machine's role)"
            raise InputError(_without_query(self.uri), "", cause, next_step) from error


def _without_query(uri: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

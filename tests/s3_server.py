"""An S3 server on loopback, and folders in it by URI."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from local_cluster import free_port

from depthbox.core.remote import RemoteFolder

__all__ = ["CREDENTIALS", "S3Server", "s3_server"]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class S3Server:
    port: int

    def uri(self, folder: str) -> str:
        """Of a folder in the bucket `box`."""
        return f"s3://box/{folder}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def fill(self, folder: str, source: Path) -> str:
        """Every file below `source`; the folder's URI."""
        remote = RemoteFolder.at(self.uri(folder))
        for file in source.rglob("*"):
            if file.is_file():
                remote.put(file, file.relative_to(source).as_posix())
        return remote.uri


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Set `CREDENTIALS` before the first request of a process."""
    port = free_port()
    with (folder / "s3.log").open("w") as log:
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.put(f"http://127.0.0.1:{port}/box", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "s3.log").read_text()
                time.sleep(0.2)
        yield S3Server(port=port)
    finally:
        process.terminate()
        process.wait(timeout=20)

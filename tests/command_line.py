"""The command line in this process: words in, exit status and both streams out."""

import contextlib
import io
import json
from dataclasses import dataclass

from depthbox.cli import main

__all__ = ["Answer", "depthbox"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out.splitlines()[-1])

    @property
    def fault(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.strip().splitlines()
        assert line.startswith("depthbox: ")
        assert not self.out
        return line


def depthbox(*words: object) -> Answer:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(word) for word in words])
        except SystemExit as error:
            status = int(error.code or 0)
    return Answer(status=status, out=out.getvalue(), err=err.getvalue())

"""Errors a person can act on: one line that names the place, the cause and the next step."""

from collections.abc import Sequence

__all__ = ["InputError", "UsageError", "few"]


class InputError(ValueError):
    """A file, a record or a machine is not what the run needs; the command exits with 1.

    `InputError("annotations/train.json", "annotation 12", "bbox has a negative width (-4)", "bbox is x, y, width, height in pixels")`
    reads "annotations/train.json: annotation 12: bbox has ... | next: bbox is ...".
    """

    def __init__(self, place: object, record: str, cause: str, next_step: str = "") -> None:
        self.place, self.record, self.cause, self.next_step = str(place), record, cause, next_step
        where = ": ".join(part for part in (str(place), record) if part)
        super().__init__(f"{where}: {cause}" + (f" | next: {next_step}" if next_step else ""))

    def __reduce__(self) -> tuple:
        return (type(self), (self.place, self.record, self.cause, self.next_step))


class UsageError(ValueError):
    """The command line or the configuration is wrong; the command exits with 2."""


def few(values: Sequence[object]) -> str:
    """The first five of many, for such a line."""
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(str(value) for value in values[:5]) + more

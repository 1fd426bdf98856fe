"""How a run ends before its last step: someone asked it to, through a file in its folder. No torch in here."""

from pathlib import Path

__all__ = ["ENOUGH", "Enough", "Interrupted", "interruption"]

ENOUGH = "enough"
"""What the stop file says where the run has not gone wrong and is not to be gone on with: it ends FINISHED."""


class Interrupted(Exception):
    """Someone asked the run to stop; a checkpoint has been written."""


class Enough(Interrupted):
    """Who watches the run has seen enough of it; what it has learned stays."""


def interruption(stop_file: Path) -> Interrupted:
    """What to raise for the stop file."""
    return Enough() if stop_file.exists() and stop_file.read_text() == ENOUGH else Interrupted()

"""What a worker is given: everything a run needs, as one picklable record."""

from dataclasses import dataclass
from pathlib import Path

from depthbox.data.schema import CocoData
from depthbox.data.semantic import SemanticData
from depthbox.data.shape import DepthSetup
from depthbox.data.source import Source
from depthbox.data.video import VideoData
from depthbox.experiment import Experiment
from depthbox.train.mirror import Mirror

__all__ = ["Job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    experiment: Experiment
    source: Source
    val: CocoData | VideoData | SemanticData | None
    depth: DepthSetup | None
    out: Path
    run_id: str
    """The MLflow run that rank 0 writes to; empty: none."""
    pause_at: int = 0
    """The run stops after this step as if it had been asked to (0: it goes to its end)."""
    reports: int = 20
    """Who watches the run hears of its scores at most so many times, however often it is evaluated."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.data.class_names

    @property
    def mirror(self) -> Mirror:
        return Mirror(storage=self.experiment.storage, out=self.out)

    @property
    def stop_file(self) -> Path:
        """Appears when someone has asked the run to stop."""
        return self.out / "stop"

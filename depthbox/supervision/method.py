"""A method turns predictions and targets into named losses; the loop never learns which one it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule

__all__ = ["Classes", "Losses", "Method", "Teacherless", "weigh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Unweighted scalar terms by name, and figures to log that are no losses."""

    terms: Mapping[str, Tensor]
    figures: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """What a method may know of the classes, in the order of their labels."""

    names: Sequence[str] = ()
    objects: Sequence[int] = ()
    """How many of each the labelled images of the run hold."""
    images: int = 0
    """How many those are."""

    @property
    def objects_an_image(self) -> float:
        return sum(self.objects) / max(self.images, 1)


class Method(Protocol):
    """One way to supervise. State that steers training is a registered buffer of `modules`."""

    weights: Mapping[str, Schedule]

    def losses(self, student: nn.Module, batch: Batch, step: int) -> Losses: ...

    def after_step(self, student: nn.Module, step: int) -> None: ...

    def modules(self) -> Mapping[str, nn.Module]:
        """What must be checkpointed beside the student, by name (a teacher); empty for most."""
        ...

    def evaluated(self, student: nn.Module, step: int) -> nn.Module:
        """The network whose predictions count after `step` steps: the student, or its teacher."""
        ...


class Teacherless:
    """What a method without a teacher says of itself: nothing follows a step, nothing is kept, the student counts."""

    def after_step(self, student: nn.Module, step: int) -> None:
        """Nothing to do."""

    def modules(self) -> Mapping[str, nn.Module]:
        return {}

    def evaluated(self, student: nn.Module, step: int) -> nn.Module:
        return student


def weigh(terms: Mapping[str, Tensor], weights: Mapping[str, Schedule], step: int) -> Tensor:
    """Sum of weight * term: the only place where a weight meets a loss. Raises if a name is missing on either side."""
    if set(terms) != set(weights):
        raise AssertionError(f"losses {sorted(terms)} and weights {sorted(weights)} do not match")
    return sum(
        (weights[name](step) * term for name, term in terms.items()), start=next(iter(terms.values())).new_zeros(())
    )

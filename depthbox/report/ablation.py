"""An ablation table: rows x seeds of experiments, finished cells kept as lines of JSON, so that a table resumes anywhere and tables share rows."""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from depthbox.core.config import vary
from depthbox.core.errors import InputError, UsageError
from depthbox.core.references import filled
from depthbox.experiment import PLACES, Experiment, name_of

__all__ = ["Ablation", "Cell", "Finished", "finished_cells", "keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """`rows` name what each changes of `base`; every row runs with every seed. The first row is what the others are compared with.

    A "{seed}" in a setting is the cell's seed; "{sde}" is a finished run that the table builds on, where `runs` names it: its folder is given
    on the command line (`sde=FOLDER`), and what its weights are is part of a cell's digest.
    """

    base: Experiment
    rows: Mapping[str, Mapping[str, object]]
    seeds: Sequence[int] = (0, 1, 2)
    metrics: Sequence[str] = ("mask_ap", "mask_ap50", "mask_ap75", "box_ap")
    """Of the last evaluation; `best_...` of the best one, where a run has several."""
    about: str = ""
    """What it asks; read from the file's docstring."""
    runs: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder, empty until it is given."""

    def __post_init__(self) -> None:
        """Raises `UsageError` for a metric that no cell of a row could have."""
        for row, changes in self.rows.items():
            experiment = vary(self.base, changes)
            best = [name for name in self.metrics if name.startswith("best_")]
            if best and not experiment.schedule.evaluate_every:
                raise UsageError(f"{row}: {best[0]} is the best of several evaluations; set schedule.evaluate_every")

    @property
    def digest(self) -> str:
        """Names the table, rows and seeds, on every machine."""
        cells = [(cell.row, cell.seed, cell.digest) for cell in self.cells()]
        return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]

    def cells(self) -> Iterator["Cell"]:
        """Seed by seed, so that a table cut short has every row."""
        for seed in self.seeds:
            for row, changes in self.rows.items():
                experiment = replace(vary(self.base, changes), seed=seed)
                numbered = filled(experiment, partial(_seed_of, seed))
                yield Cell(row=row, seed=seed, experiment=numbered, runs=self.runs)

    def placed(self, words: Mapping[str, object]) -> "Ablation":
        """The same table at another place. Raises `UsageError` for a setting that would change what is measured, except the data's root and the
        backbone's weights, which are part of every cell's digest by their content."""
        allowed = (*PLACES, "data.root", "model.weights")
        runs = {name: str(words.get(name, folder)) for name, folder in self.runs.items()}
        for path in words:
            if path not in runs and not any(path == place or path.startswith(place + ".") for place in allowed):
                raise UsageError(
                    f"{path} would change the table; allowed here are {', '.join((*runs, *allowed))}, seeds=, rows= and cells="
                )
        base = vary(self.base, {path: value for path, value in words.items() if path not in runs})
        return replace(self, base=base, runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    row: str
    seed: int
    experiment: Experiment
    runs: Mapping[str, str] = field(default_factory=dict)

    @property
    def here(self) -> Experiment:
        """The experiment with the runs it builds on where they lie. Raises `UsageError` for one that was not given, `InputError` for no run."""
        return filled(self.experiment, lambda name: str(_model_of(name, self.runs).parent))

    @property
    def digest(self) -> str:
        """Names the cell on every machine: where the data and the weights lie does not count, what the weights are does."""
        data, model = self.experiment.data, self.experiment.model
        weights = _content(model.weights) if Path(model.weights).is_file() else model.weights
        named = replace(self.experiment, data=replace(data, root=""), model=replace(model, weights=weights))
        return name_of(filled(named, lambda name: _content(str(_model_of(name, self.runs)))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One finished cell: its scores, and what they cost on what."""

    digest: str
    row: str
    seed: int
    scores: Mapping[str, float]
    seconds: float
    machine: str
    commit: str
    run_id: str = ""


def _seed_of(seed: int, name: str) -> str:
    """The seed; other names stay."""
    return str(seed) if name == "seed" else f"{{{name}}}"


def _model_of(name: str, runs: Mapping[str, str]) -> Path:
    """The weights of a run that a table builds on."""
    if not runs.get(name):
        raise UsageError(f"{name}=FOLDER is needed: the folder of a finished run that this table builds on")
    file = Path(runs[name]).expanduser().absolute() / "model.safetensors"
    if not file.is_file():
        raise InputError(file.parent, "", "holds no model.safetensors", f"give {name}= the folder of a finished run")
    return file


@functools.cache
def _content(file: str) -> str:
    return f"sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}"


def finished_cells(folder: Path) -> dict[str, Finished]:
    """Every cell that any table of `folder` has finished, by digest. Raises `InputError` for a line that is none."""
    found: dict[str, Finished] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            try:
                cell = Finished(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise InputError(
                    file, f"line {number}", f"is no finished cell ({error})", "delete the line; its cell runs again"
                ) from None
            found[cell.digest] = cell
    return found


def keep(cell: Finished, file: Path) -> None:
    """Append one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps({name: getattr(cell, name) for name in cell.__slots__}) + "\n")

"""Photos of a folder -> those to label next: a list and a page that says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depthbox.core.errors import InputError, UsageError
from depthbox.data.splits import photo_names
from depthbox.experiment import DepthConfig

__all__ = ["Root", "Selected", "Selection", "names_below", "select_photos"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    root: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`images` below `data.root`; `labelled` is a text file of the names that have a label, one a line; `steps` train each round's student."""

    images: str = ""
    count: int = 0
    by: Literal["diversity", "uncertainty", "both"] = "both"
    labelled: str = ""
    out: str = ""
    steps: int = 150
    seed: int = 0
    depth: DepthConfig = DepthConfig()
    data: Root = Root()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """`rows` are the chosen in order: name, round, distance, disagreement."""

    title: str
    rows: Sequence[dict[str, object]]
    images: int
    unreadable: Sequence[str]
    list_file: Path
    page: Path


def select_photos(asked: Selection, *, say: Callable[[str], None]) -> Selected:
    """Look at all photos, choose, and write `selected.txt` and `selected.html` into `asked.out`. Raises `UsageError`, `InputError` in words."""
    if not asked.out:
        raise UsageError("out= is needed: a folder for the list and the page")
    if asked.count < 1 or asked.steps < 1:
        raise UsageError(
            f"count={asked.count} steps={asked.steps}: allowed are 1 and more; count is how many to choose"
        )
    from depthbox.depth.estimator import build_estimator
    from depthbox.report.selection_page import SelectionFacts, write_selection_page
    from depthbox.train.inputs import data_root, depth_spec, files_of
    from depthbox.train.selection import choose, read_pool

    root = data_root(asked.data.root)
    paths = files_of(asked.images, root, name="images")
    estimator = build_estimator(depth_spec(asked.depth.source, root), device=asked.depth.device)
    if estimator is None:
        raise UsageError("depth.source=none: selection looks into a depth network; name builtin or run:FOLDER")
    pool = read_pool(paths, estimator, progress=say)
    names = names_below(pool.paths)
    labelled = _labelled(root / asked.labelled, names) if asked.labelled else []
    picks = choose(pool, asked.count, by=asked.by, labelled=labelled, steps=asked.steps, seed=asked.seed)
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    chosen = [names[pick.index] for _, pick in picks]
    (out / "selected.txt").write_text("".join(f"{name}\n" for name in chosen))
    title = f"{len(chosen)} of {len(names)} photos to label, by {asked.by}"
    facts = SelectionFacts(
        by=asked.by, labelled=len(labelled), list_file=out / "selected.txt", unreadable=pool.unreadable
    )
    write_selection_page(out / "selected.html", names=names, paths=pool.paths, picks=picks, facts=facts)
    rows = [{"name": names[p.index], "round": r, "distance": p.distance, "disagreement": p.disagreement} for r, p in picks]  # fmt: skip
    return Selected(
        title=title,
        rows=rows,
        images=len(names),
        unreadable=pool.unreadable,
        list_file=out / "selected.txt",
        page=out / "selected.html",
    )


def names_below(paths: Sequence[str]) -> list[str]:
    """Below the folder that all share."""
    shared = Path(paths[0]).parent
    while not all(Path(path).is_relative_to(shared) for path in paths):
        shared = shared.parent
    return [Path(path).relative_to(shared).as_posix() for path in paths]


def _labelled(file: Path, names: list[str]) -> list[int]:
    """The places of the names in a split file."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            file, "", f"cannot be read ({error})", "labelled= takes a text file, one name a line"
        ) from None
    said = [line for line in lines if line and not line.startswith("#")]
    places = photo_names(names) | {name: index for index, name in enumerate(names)}
    unknown = [name for name in said if name not in places]
    if unknown:
        cause = f"{unknown[0]} is no photo of images=" + (
            f", nor are {len(unknown) - 1} more" if len(unknown) > 1 else ""
        )
        raise InputError(file, "", cause, f"names are like {names[0]}")
    return sorted({places[name] for name in said})

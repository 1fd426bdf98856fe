"""`depthbox select images=DIR count=N out=DIR`: which photos to label next, and why."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.depth import Root
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import InputError, UsageError
from depthbox.experiment import DepthConfig

__all__ = ["Selection", "command"]


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


def command(arguments: argparse.Namespace) -> int:
    asked = vary(Selection(), parse_overrides(arguments.words))
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

    people = for_people(as_json=arguments.json)
    root = data_root(asked.data.root)
    paths = files_of(asked.images, root, name="images")
    estimator = build_estimator(depth_spec(asked.depth.source, root), device=asked.depth.device)
    if estimator is None:
        raise UsageError("depth.source=none: selection looks into a depth network; name builtin or run:FOLDER")
    pool = read_pool(paths, estimator, progress=lambda line: print(line, file=people, flush=True))
    names = _names(pool.paths)
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
    for line in pool.unreadable:
        print(f"left out: {line}", file=people)
    print(f"{title}\nlist  {out / 'selected.txt'}\npage  {out / 'selected.html'}", file=people)
    if arguments.json:
        rows = [{"name": names[p.index], "round": r, "distance": p.distance, "disagreement": p.disagreement} for r, p in picks]  # fmt: skip
        end_with_json({"selected": rows, "images": len(names), "unreadable": list(pool.unreadable), "out": str(out)})
    return 0


def _names(paths: Sequence[str]) -> list[str]:
    """Below the folder that all share."""
    shared = Path(paths[0]).parent
    while not all(Path(path).is_relative_to(shared) for path in paths):
        shared = shared.parent
    return [Path(path).relative_to(shared).as_posix() for path in paths]


def _labelled(file: Path, names: list[str]) -> list[int]:
    """The places of the names in a split file."""
    try:
        said = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            file, "", f"cannot be read ({error})", "labelled= takes a text file, one name a line"
        ) from None
    places = {name: index for index, name in enumerate(names)}
    places |= {Path(name).stem: index for index, name in enumerate(names) if Path(name).stem not in places}
    unknown = [name for name in said if name not in places]
    if unknown:
        cause = f"{unknown[0]} is no photo of images=" + (
            f", nor are {len(unknown) - 1} more" if len(unknown) > 1 else ""
        )
        raise InputError(file, "", cause, f"names are like {names[0]}")
    return sorted({places[name] for name in said})

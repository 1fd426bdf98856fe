"""The plots of a table. matplotlib is imported when one is drawn, without a screen and without its global state."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthbox.core.config import flatten
from depthbox.experiment import PLACES
from depthbox.report.ablation import Ablation
from depthbox.report.compare import Comparison, RowResult
from depthbox.report.traces import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plot", "Sweep", "draw_plots", "sweeps"]

INK, BASE, ROW, FAINT = "#2b2f36", "#8b919a", "#1f5fbf", "#dfe2e6"
PER_LINE, CLASSES_SHOWN = 4, 12
FEWEST_SWEPT = 3
DPI = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    file: Path
    title: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Rows that are alike but for the number at `path`: value -> row."""

    path: str
    rows: Mapping[float, str]


def draw_plots(table: Ablation, found: Comparison, traces: Mapping[str, Trace], folder: Path) -> list[Plot]:
    """Every plot that the finished cells allow, as PNG files in `folder`; `traces` are by digest."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = [_weight_plot(sweep, found, folder) for sweep in sweeps(table)]
    plots += [_curve_plot(name, found, traces, folder) for name in _curves_to_show(found, traces)]
    plots += [_class_plot(found, folder), _picture_plot(found, traces, folder)]
    return [plot for plot in plots if plot is not None]


def sweeps(table: Ablation) -> list[Sweep]:
    """One for each number that at least three rows vary while all else of them is the same."""
    first_seed = table.seeds[0]
    settings = {c.row: _settings(c.experiment) for c in table.cells() if c.seed == first_seed}
    paths = dict.fromkeys(path for one in settings.values() for path, value in one.items() if _is_number(value))
    found = []
    for path in paths:
        groups: dict[str, dict[float, str]] = {}
        for row, one in settings.items():
            if _is_number(one.get(path)):
                rest = repr({name: value for name, value in one.items() if name != path})
                groups.setdefault(rest, {})[float(one[path])] = row  # type: ignore[arg-type]
        found += [Sweep(path=path, rows=group) for group in groups.values() if len(group) >= FEWEST_SWEPT]
    return found


def _settings(experiment: Any) -> dict[str, object]:
    return {path: v for path, v in flatten(experiment).items() if not path.startswith(PLACES)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _weight_plot(sweep: Sweep, found: Comparison, folder: Path) -> Plot | None:
    rows = {row.name: row for row in found.rows}
    values = [v for v in sorted(sweep.rows) if rows[sweep.rows[v]].estimates]
    if len(values) < 2:
        return None
    figure, axes = _panels(len(found.metrics), height=2.4)
    for metric, axis in zip(found.metrics, axes, strict=True):
        points = [(v, rows[sweep.rows[v]]) for v in values if metric in rows[sweep.rows[v]].estimates]
        means = [row.estimates[metric].mean for _, row in points]
        spreads = [row.estimates[metric].sd or 0.0 for _, row in points]
        axis.errorbar([v for v, _ in points], means, yerr=spreads, color=ROW, marker="o", markersize=4, capsize=3)
        for value, row in points:
            axis.plot(
                [value] * len(row.cells), [c.scores.get(metric) for c in row.cells], ".", color=BASE, markersize=4
            )
        if min(values) > 0 and max(values) / min(values) >= 20:
            axis.set_xscale("log")
        axis.set_title(metric, fontsize=9)
        axis.set_xlabel(sweep.path, fontsize=8)
    says = "Line and bars: mean and standard deviation; dots: seeds."
    return _saved(figure, folder / f"against-{sweep.path}.png", title=f"Scores against {sweep.path}", says=says)


def _curves_to_show(found: Comparison, traces: Mapping[str, Trace]) -> list[str]:
    there = {name for trace in traces.values() for name, points in trace.curves.items() if len(points) > 1}
    return [name for name in (f"val/{found.metrics[0]}", "loss/total", "mask_box_ratio") if name in there]


def _curve_plot(name: str, found: Comparison, traces: Mapping[str, Trace], folder: Path) -> Plot | None:
    """A panel a row, the base row in grey behind it: fifteen lines in one panel could not be told apart."""
    curves = {row.name: _curves_of(row, name, traces) for row in found.rows}
    rows = [row for row in found.rows if curves[row.name]]
    figure, axes = _panels(len(rows), height=1.7, shared=True)
    base = curves[found.rows[0].name]
    for row, axis in zip(rows, axes, strict=True):
        if base and row is not found.rows[0]:
            _band(axis, base, BASE)
        _band(axis, curves[row.name], BASE if row is found.rows[0] else ROW)
        axis.set_title(row.name, fontsize=8)
    says = (
        f"Line: mean over seeds; band: from the lowest to the highest seed; grey: {found.rows[0].name}; across: step."
    )
    return _saved(figure, folder / f"curves-{name.replace('/', '-')}.png", title=f"Learning curves: {name}", says=says)


def _curves_of(row: RowResult, name: str, traces: Mapping[str, Trace]) -> list[Sequence[tuple[int, float]]]:
    kept = (traces[cell.digest].curves.get(name, ()) for cell in row.cells if cell.digest in traces)
    return [curve for curve in kept if len(curve) > 1]


def _band(axis: Any, curves: Sequence[Sequence[tuple[int, float]]], colour: str) -> None:
    import numpy as np

    steps = [step for step, _ in curves[0]]
    values = np.stack([np.interp(steps, [step for step, _ in c], [value for _, value in c]) for c in curves])
    axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axis.plot(steps, values.mean(axis=0), color=colour, linewidth=1.3)


def _class_plot(found: Comparison, folder: Path) -> Plot | None:
    """A panel a class, a bar a row; with many classes those whose rows differ most."""
    bars = _by_class(found)
    if not bars:
        return None
    shown = sorted(bars, key=lambda name: max(bars[name].values()) - min(bars[name].values()), reverse=True)
    shown = sorted(shown[:CLASSES_SHOWN])
    rows = [row for row in found.rows if row.cells]
    figure, axes = _panels(len(shown), height=0.5 + 0.2 * len(rows), shared=True)
    for name, axis in zip(shown, axes, strict=True):
        for place, row in enumerate(rows):
            seeds = _class_scores(row, name)
            axis.barh(place, bars[name].get(row.name, 0.0), color=BASE if row is found.rows[0] else ROW, height=0.7)
            axis.plot(seeds, [place] * len(seeds), ".", color=INK, markersize=4)
        axis.set_title(name, fontsize=8)
        axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axes[0].invert_yaxis()
    left_out = (
        f" {len(bars) - len(shown)} classes whose rows differ less are left out." if len(bars) > len(shown) else ""
    )
    says = f"Bars: mean over seeds; dots: seeds; grey: {found.rows[0].name}.{left_out}"
    return _saved(figure, folder / "classes.png", title="Average precision by class", says=says)


def _by_class(found: Comparison) -> dict[str, dict[str, float]]:
    """Class -> row -> mean; a class's name begins with what was scored, such as mask_ap/dog."""
    names = dict.fromkeys(n for row in found.rows for cell in row.cells for n in cell.scores if "_ap/" in n)
    means = {n: {row.name: sum(s) / len(s) for row in found.rows if (s := _class_scores(row, n))} for n in names}
    return {name: values for name, values in means.items() if values}


def _class_scores(row: RowResult, name: str) -> list[float]:
    return [value for cell in row.cells if math.isfinite(value := cell.scores.get(name, math.nan))]


def _picture_plot(found: Comparison, traces: Mapping[str, Trace], folder: Path) -> Plot | None:
    """The strips below each other, the truth first: what each row's first finished cell predicts."""
    from PIL import Image, ImageDraw, ImageFont

    kept = [(row.name, trace) for row in found.rows if (trace := _with_strip(row, traces)) is not None]
    if not kept:
        return None
    truths = {trace.truth for _, trace in kept if trace.truth is not None}
    lines = [("truth", truth) for truth in sorted(truths)] + [(name, trace.strip) for name, trace in kept]
    strips = [(name, Image.open(file)) for name, file in lines if file is not None]
    font, gap = ImageFont.load_default(13), 6
    left = max(round(font.getlength(name)) for name, _ in strips) + 2 * gap
    size = (left + max(s.width for _, s in strips) + gap, sum(s.height + gap for _, s in strips) + gap)
    sheet, y = Image.new("RGB", size, "white"), gap
    for name, strip in strips:
        ImageDraw.Draw(sheet).text((gap, y + strip.height / 2), name, fill=INK, font=font, anchor="lm")
        sheet.paste(strip, (left, y))
        y += strip.height + gap
    file = folder / "pictures.jpg"
    sheet.save(file, quality=85)
    says = "The same validation photos in every line; detections above a score of 0.5 of the row's first finished seed."
    return Plot(file=file, title="Predictions by row", says=says)


def _with_strip(row: RowResult, traces: Mapping[str, Trace]) -> Trace | None:
    kept = (traces[cell.digest] for cell in row.cells if cell.digest in traces)
    return next((trace for trace in kept if trace.strip is not None), None)


def _panels(count: int, *, height: float, shared: bool = False) -> tuple["Figure", list[Any]]:
    """`count` axes, at most four in a line; `height` of a panel in inches."""
    from matplotlib.figure import Figure

    across = min(count, PER_LINE)
    lines = -(-count // across)
    figure = Figure(figsize=(2.4 * across + 0.8, height * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, across, squeeze=False, sharex=shared, sharey=shared)
    for axis in grid.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=7, colors=INK)
        axis.grid(color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
    for axis in grid.flat[count:]:
        axis.set_visible(False)
    return figure, list(grid.flat[:count])


def _saved(figure: "Figure", file: Path, *, title: str, says: str) -> Plot:
    figure.savefig(file, dpi=DPI)
    return Plot(file=file, title=title, says=says)

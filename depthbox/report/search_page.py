"""A sweep to look at: how its trials learned, where in the space the good ones lie, and one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from depthbox.evaluate.embedded import file_address

__all__ = ["draw_figures", "write_search_page"]

BEST, OTHERS = "#b3261e", "#7a8794"
PER_LINE = 3

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ text[0] }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: left }
img { max-width: 100% } code { background: #f3f3f3; padding: .1em .3em }
</style></head><body>
<h1>{{ text[0] }}</h1><p>{{ text[1] }}</p>
{% for figure in figures %}<p><img alt="{{ figure.name }}" src="{{ figure.data }}"></p>
{% endfor %}<table><tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table><p>Made by <code>{{ text[2] }}</code></p></body></html>
"""


def draw_figures(
    curves: Mapping[int, Mapping[int, float]],
    settings: Mapping[str, Sequence[object]],
    *,
    metric: str,
    best: int,
    folder: Path,
) -> list[Path]:
    """`curves.png`, the metric of every trial by epoch, and `settings.png`, its last value against each setting; `best` stands out.

    `settings` has a value for each trial of `curves`, in the same order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_curves(curves, metric, best, folder / "curves.png"), _settings(curves, settings, metric, best, folder)]


def write_search_page(
    file: Path, *, text: Sequence[str], table: tuple[Sequence[str], Sequence[Sequence[object]]], figures: Sequence[Path]
) -> Path:
    """`text` is the heading, a line about it and the command."""
    import jinja2

    cells = [
        ["-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row]
        for row in table[1]
    ]
    embedded = [{"name": one.stem, "data": file_address(one)} for one in figures]
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    file.write_text(page.render(text=text, columns=table[0], rows=cells, figures=embedded))
    return file


def _curves(curves: Mapping[int, Mapping[int, float]], metric: str, best: int, file: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for number, curve in sorted(curves.items(), key=lambda one: one[0] == best):
        epochs = sorted(curve)
        colour, width = (BEST, 2.0) if number == best else (OTHERS, 1.0)
        axis.plot(epochs, [curve[e] for e in epochs], color=colour, linewidth=width, marker="o", markersize=3)
    axis.set_xlabel("epoch")
    axis.set_ylabel(metric)
    axis.set_title(f"every trial; trial {best}, the best, in red", fontsize=10)
    figure.savefig(file, dpi=120)
    return file


def _settings(
    curves: Mapping[int, Mapping[int, float]],
    settings: Mapping[str, Sequence[object]],
    metric: str,
    best: int,
    folder: Path,
) -> Path:
    from matplotlib.figure import Figure

    lines = -(-len(settings) // PER_LINE)
    figure = Figure(figsize=(3.2 * min(len(settings), PER_LINE) + 0.4, 2.6 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, min(len(settings), PER_LINE), squeeze=False, sharey=True)
    numbers = list(curves)
    for axis, (path, values) in zip(axes.flat, settings.items(), strict=False):
        shown = [(v, curves[n][max(curves[n])], n == best) for v, n in zip(values, numbers, strict=True) if curves[n]]
        names = all(isinstance(value, bool | str) for value in values)
        for value, score, wins in sorted(shown, key=lambda one: one[2]):
            axis.scatter(
                [str(value) if names else value], [score], color=BEST if wins else OTHERS, s=30 if wins else 16
            )
        axis.set_xlabel(path.rsplit(".", 1)[-1], fontsize=9)
    for axis in list(axes.flat)[len(settings) :]:
        axis.set_visible(False)
    axes[0][0].set_ylabel(metric)
    file = folder / "settings.png"
    figure.savefig(file, dpi=120)
    return file

"""The page of a table: whole by itself, every number leads to its runs, and a browser shows it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import look
from finished_table import TABLE, compared, write_finished_table
from PIL import Image

from depthbox.report.ablation import finished_cells
from depthbox.report.figures import Plot, draw_plots
from depthbox.report.page import PageFacts, write_page
from depthbox.report.traces import read_trace


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.found if name in attributes]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished_table(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def plots(results: Path) -> list[Plot]:
    kept = {digest: trace for digest in finished_cells(results) if (trace := read_trace(digest, results / "cells"))}
    return draw_plots(TABLE, compared(results), kept, results / "figures")


def written(results: Path, plots: list[Plot], uri: str) -> Path:
    facts = PageFacts(name="table", uri=uri, command="depthbox ablate t.py", failed={"ResNet, seed 1": "a <reason>"})
    return write_page(compared(results), plots, results / "table.html", facts)


def test_the_page_needs_nothing_but_itself(results: Path, plots: list[Plot]) -> None:
    text = written(results, plots, "sqlite:////x/mlflow.db").read_text()
    tags = Tags(text)
    assert not {"script", "link", "iframe", "base"} & {tag for tag, _ in tags.found}
    assert len(tags.values("src")) == 5 and all(src.startswith("data:image/") for src in tags.values("src"))
    assert all(href.startswith("#") for href in tags.values("href"))
    assert "url(" not in text and "@import" not in text
    assert "&lt;Expected&gt;" in text and "a &lt;reason&gt;" in text
    assert "<p>Cost: nothing.</p>" in text and "<pre>first words\nsecond &lt;words&gt;</pre>" in text


def test_every_number_leads_to_its_cells_and_every_cell_to_its_run(results: Path, plots: list[Plot]) -> None:
    tags = Tags(written(results, plots, "http://ann:secret-1@host:5000").read_text())
    inside = {href[1:] for href in tags.values("href") if href.startswith("#")}
    assert inside == {"row-0", "row-1", "row-2", "row-3"} == set(tags.values("id"))
    runs = {href for href in tags.values("href") if not href.startswith("#")}
    ids = {cell.run_id for cell in finished_cells(results).values()}
    assert runs == {f"http://[redacted]@host:5000/#/runs/{run_id}" for run_id in ids}


def test_where_no_server_shows_the_runs_their_ids_and_the_command_stand(results: Path, plots: list[Plot]) -> None:
    text = written(results, plots, "sqlite:////x/mlflow.db").read_text()
    assert all(cell.run_id in text for cell in finished_cells(results).values())
    assert "depthbox dashboard tracking.uri=sqlite:////x/mlflow.db" in text


def test_a_browser_shows_table_and_plots(results: Path, plots: list[Plot], tmp_path: Path) -> None:
    page = written(results, plots, "none").as_uri()
    shown = "[...document.images].every(i => i.complete && i.naturalWidth > 100) && document.images.length"
    follow = "(a => (a.click(), location.hash))(document.querySelector('tbody a'))"
    words = "document.querySelector('table').innerText"
    count, words, at = look(page, shown, words, follow, picture=tmp_path / "page.png", size=(1300, 3000))
    assert count == 5 and at == "#row-0"
    assert re.search(r"colour 0\s+3\s+0\.210 ± 0\.036\s+\[0\.187, 0\.250\]\s+-0\.100", str(words))
    assert np.asarray(Image.open(tmp_path / "page.png").convert("L")).std() > 10

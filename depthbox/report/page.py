"""The table as one HTML file that needs nothing else: pictures inside, no script, no other host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from depthbox.evaluate.embedded import file_address
from depthbox.report import text
from depthbox.report.compare import Comparison
from depthbox.report.figures import Plot
from depthbox.tracking.read import dashboard_command, run_page

__all__ = ["PageFacts", "write_page"]

TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """What the page says besides the numbers: the table's name, the store its runs are in, how it was made, what failed."""

    name: str
    uri: str
    command: str
    failed: Mapping[str, str]


def write_page(found: Comparison, plots: Sequence[Plot], file: Path, facts: PageFacts) -> Path:
    """Write `file` and return it. Each number leads to its cells, each cell to its run where a server shows it."""
    import jinja2

    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text())
    words = {name: getattr(text, name) for name in ("spread", "interval", "change", "p_value")}
    filled = page.render(
        name=facts.name,
        found=found,
        plots=plots,
        failed=facts.failed,
        command=facts.command,
        method=text.METHOD,
        page_of=partial(run_page, facts.uri),
        opened_by=dashboard_command(facts.uri),
        embedded=file_address,
        **words,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(filled)
    return file

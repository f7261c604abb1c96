"""The page on attacks: what its tables and its plot show is written here, from the figures alone."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hidemia.benchmarks import pages
from hidemia.benchmarks.report import attacked, plots
from hidemia.benchmarks.report.document import Attacks
from hidemia.benchmarks.report.markdown import table
from hidemia.runtime.errors import DataError

NAME = "attacks"
DPI = 80  # under 60 kB


def check(page: Path) -> None:
    """See that a page can take the figures.

    Raises:
        DataError: It is not there, or has no marks for them.
    """
    try:
        pages.renewed(page.read_text(), NAME, [])
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"--page {page}: expected a page with marks for figures, got: {why}") from None


def write(page: Path, found: Attacks) -> None:
    """Write tables between the page's marks, and the plot beside it under the page's name."""
    picture = page.with_suffix(".png")
    picture.write_bytes(png(found))
    shown = f"![ROC curves of the detectors, and error against the pairs they were trained on]({picture.name})"
    page.write_text(pages.renewed(page.read_text(), NAME, [*lines(found), "", shown]))


def lines(found: Attacks) -> list[str]:
    """The figures as Markdown."""
    head = [f"Measured on {found.date} on {found.machine}; trainings and tests took {found.seconds / 60:.0f} minutes."]
    if found.quick:
        head.append("A quick try: these figures mean nothing.")
    blocks = [" ".join([*head, *found.method])]
    tables = [attacked.controls, attacked.detections, attacked.learned, attacked.exposures, attacked.absent]
    written = [table(content) for content in (make(found) for make in tables) if content.rows]
    return ["\n\n".join([*blocks, *("\n".join(block) for block in written)])]


def png(found: Attacks) -> bytes:
    """ROC curves and learning curve side by side."""
    with rc_context(plots.STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(2 * plots.WIDTH, 4), dpi=DPI)
        left, right = figure.subplots(1, 2)
        plots.draw_roc(left, found)
        plots.draw_learned(right, found)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()

"""report.md: the same sections as the page, without plots and pictures. A pure function of the report."""

from __future__ import annotations

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.sections import Section, facts, sections, warnings
from hidemia.benchmarks.report.table import Table
from hidemia.benchmarks.report.words import HEADLINE


def render(report: Report) -> str:
    """The report as Markdown; plots and pictures are on the page beside it."""
    lines = [f"# HideMIA: what it costs and how visible it is (model {report.model})", "", HEADLINE, ""]
    lines += [f"- **{fact.value}** {fact.what}" for fact in facts(report)]
    lines += ["", *(f"> {warning}\n" for warning in warnings(report))]
    for section in sections(report):
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"## {section.title}", ""]
    if not section.blocks:
        return [*lines, f"Not here: {section.reason}.", ""]
    for block in section.blocks:
        if isinstance(block, str):
            lines += [block, ""]
        elif isinstance(block, Table):
            lines += [*table(block), ""]
    return lines


def table(content: Table) -> list[str]:
    """A table; numbers to the right."""
    rule = ["---:" if column in content.numbers else "---" for column in range(len(content.head))]
    return [_row(content.head), _row(rule), *map(_row, content.rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

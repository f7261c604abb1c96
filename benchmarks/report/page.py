"""report.html: one file that needs nothing else, readable on a phone and in print. A pure function of the report."""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.measurements import Picture
from hidemia.benchmarks.report.sections import Plot, Section, facts, sections, warnings
from hidemia.benchmarks.report.table import Table
from hidemia.benchmarks.report.words import HEADLINE

LONG = 20
"""Characters from which a column of text gets room, so that it is not broken into a word a line."""

WIDE = 12
"""Columns from which a table is printed smaller."""


def render(report: Report) -> str:
    """The report as HTML. Its plots and pictures are inside, it loads nothing and runs no script."""
    parts = sections(report)
    style = files("hidemia.benchmarks.report").joinpath("page.css").read_text()
    where = (
        f"{report.model}, {report.environment.processor}, {report.environment.threads} threads, {report.method.date}"
    )
    cards = "".join(f"<li><strong>{escape(f.value)}</strong> {escape(f.what)}</li>" for f in facts(report))
    notes = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings(report))
    links = "".join(f'<li><a href="#{part.id}">{escape(part.title)}</a></li>' for part in parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HideMIA: what it costs and how visible it is</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>HideMIA: what it costs and how visible it is</h1>
<p class="where">{escape(where)}</p>
<p>{escape(HEADLINE)}</p>
{notes}
<ul class="facts">{cards}</ul>
<p class="where">Covertness is not encryption: keep TLS on. Research use; not a medical device.</p>
<nav><ul>{links}</ul></nav>
</header>
<main>
{"".join(map(_section, parts))}</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    head = f'<section id="{section.id}">\n<h2>{escape(section.title)}</h2>\n'
    if not section.blocks:
        return f'{head}<p class="absent">Not here: {escape(section.reason)}.</p>\n</section>\n'
    pictures = [block for block in section.blocks if isinstance(block, Picture)]
    body = [_block(block) for block in section.blocks if not isinstance(block, Picture)]
    if pictures:
        body.append(f'<div class="pictures">\n{"".join(map(_picture, pictures))}</div>\n')
    return f"{head}{''.join(body)}</section>\n"


def _block(block: str | Table | Plot | Picture) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>\n"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Picture):
        return _picture(block)
    # As an image, so that the ids of one plot never meet those of another.
    data = base64.b64encode(block.svg.encode()).decode()
    return f'<figure class="plot"><img alt="{escape(block.text)}" src="data:image/svg+xml;base64,{data}"></figure>\n'


def _table(table: Table) -> str:
    long = {column for row in table.rows for column, text in enumerate(row) if len(text) > LONG} - table.numbers

    def cell(tag: str, column: int, text: str) -> str:
        kind = ' class="number"' if column in table.numbers else ' class="long"' if column in long else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(table.head))
    rows = "".join(
        f"<tr>{''.join(cell('td', column, text) for column, text in enumerate(row))}</tr>\n" for row in table.rows
    )
    wide = " wide" if len(table.head) > WIDE else ""
    # The wrapper scrolls sideways, and takes the focus so that a keyboard can scroll it.
    return (
        f'<div class="table{wide}" tabindex="0" role="region" aria-label="table">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img alt="{escape(picture.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption><strong>{escape(picture.name)}</strong> {escape(picture.caption)}</figcaption></figure>\n"
    )

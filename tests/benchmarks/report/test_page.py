from html.parser import HTMLParser

import msgspec
import pytest
from tests.sample_report import sample

from hidemia.benchmarks.report import page, words
from hidemia.benchmarks.report.document import Environment

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: tags must close in order, ids be unique; what it points at is kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.tags, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes)
        self.tags.append((tag, named))
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("src", "href", "action", "data", "poster") if name in named]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def hollow():
    """Nothing but what is always there."""
    keep = ("model", "image_size_px", "targets", "times_ms", "environment", "method")
    full = sample()
    return type(full)(**{name: getattr(full, name) for name in keep if name != "targets"}, targets=[])


@pytest.mark.parametrize("report", [sample(), hollow()], ids=["full", "hollow"])
def test_the_page_is_well_formed_and_needs_nothing_else(report):
    text = page.render(report)
    found = Page(text)
    assert len(set(found.ids)) == len(found.ids)
    assert list(words.TITLES) == [named["id"] for tag, named in found.tags if tag == "section"]
    for address in found.addresses:
        assert address.startswith(("#", "data:image/svg+xml;base64,", "data:image/png;base64,")), address[:80]
        assert not address.startswith("#") or address[1:] in found.ids
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    assert all(named.get("alt") for tag, named in found.tags if tag == "img")


def test_plots_hold_no_address_but_name_spaces():
    import base64
    import re

    names = set()
    for _, named in Page(page.render(sample())).tags:
        source = named.get("src", "")
        if source.startswith("data:image/svg+xml"):
            svg = base64.b64decode(source.partition(",")[2]).decode()
            names |= set(re.findall(r'https?://[^"\s<]+', svg))
            assert not re.search(r'(?:href|src)="(?!#)', svg)
    assert names <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_same_report_gives_the_same_bytes():
    from hidemia.benchmarks.report import document

    report = sample()
    again = msgspec.json.decode(document.encode(report), type=document.Report)
    assert again == report
    assert page.render(again) == page.render(report)


def test_an_absent_section_says_why():
    report = sample()
    text = page.render(report)
    assert "Not here: no attacks yet." in text
    without = page.render(msgspec.structs.replace(report, stages=[], absent={"trip": "the server did not start"}))
    assert "Not here: the server did not start." in without


def test_text_is_escaped():
    text = page.render(sample())
    assert "A &lt;processor&gt; &amp; more" in text
    other = msgspec.structs.replace(sample().environment, processor="<script>alert(1)</script>")
    assert isinstance(other, Environment)
    assert "<script" not in page.render(sample(environment=other))


def test_the_first_screen_says_what_it_does_costs_and_how_visible_it_is():
    head = page.render(sample()).partition("<main>")[0]
    # 110 + 3 + 40 + 205: medians of the stages; 30 GMACs: three graphs of 10.
    for fact in ("hides a medical scan inside an ordinary photo", "358 ms", "30.0 GMACs", "4.0 MiB", "44.5 dB",
                 "39.4 dB", "0.69 Dice", "2 of 3", "Covertness is not encryption"):  # fmt: skip
        assert fact in head, fact

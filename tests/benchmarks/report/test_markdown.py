from tests.sample_report import sample

from hidemia.benchmarks.report import markdown, words


def test_every_section_is_there_and_every_row_has_its_columns():
    lines = markdown.render(sample()).splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == list(words.TITLES.values())
    width = None
    for line in lines:
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else None
        assert width is None or cells in (None, width), line
        width = cells
    assert any("there is \\| no compiler" in line for line in lines)


def test_the_same_report_gives_the_same_bytes():
    assert markdown.render(sample()) == markdown.render(sample())

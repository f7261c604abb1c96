import pytest

from hidemia.benchmarks.latency import parts
from hidemia.benchmarks.report.measurements import Power


def test_a_part_is_made_once_and_then_taken(tmp_path):
    made = Power(source="m", idle_w=1.0)
    assert parts.Parts(tmp_path, "k", reuse=True).get("power", Power, lambda: made) == made
    kept = parts.Parts(tmp_path, "k", reuse=True)
    assert kept.get("power", Power, lambda: pytest.fail("made again")) == made
    assert kept.reused == ["power"]


def test_time_and_date_are_those_of_the_parts(tmp_path):
    for name, date, seconds in (("a", "2026-01-02", 1.5), ("b", "2026-01-01", 2.0)):
        (tmp_path / f"{name}.json").write_text(f'{{"key": "k", "date": "{date}", "seconds": {seconds}, "part": 1}}')
    kept = parts.Parts(tmp_path, "k", reuse=True)
    assert [kept.get(name, int, lambda: 2) for name in "ab"] == [1, 1]
    assert (kept.seconds, kept.date) == (3.5, "2026-01-02")


@pytest.mark.parametrize("why", ["another key", "not wanted", "damaged", "another type"])
def test_a_part_is_made_again(tmp_path, why):
    old, new = Power(source="old"), Power(source="new")
    parts.Parts(tmp_path, "k", reuse=True).get("power", Power, lambda: old)
    if why == "damaged":
        (tmp_path / "power.json").write_bytes((tmp_path / "power.json").read_bytes()[:-5])
    if why == "another type":
        (tmp_path / "power.json").write_text('{"key": "k", "date": "", "seconds": 1, "part": [1]}')
    kept = parts.Parts(tmp_path, "other" if why == "another key" else "k", reuse=why != "not wanted")
    assert kept.get("power", Power, lambda: new) == new


def test_a_part_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        parts.Parts(tmp_path, "k", reuse=True).get("power", Power, lambda: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_a_key_tells_its_facts_apart():
    assert parts.key("ab", "c") != parts.key("a", "bc")
    assert parts.key(b"a") == parts.key("a") != parts.key("b")

"""docs/commands.md lists every verb with the first line of its help."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from hidemia.runtime.cli import GROUP, main

PAGE = (Path(__file__).parents[1] / "docs" / "commands.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `hidemia (\w+)` \| ([^|]+) \|", PAGE, flags=re.MULTILINE))
VERBS = sorted(entry.name for entry in entry_points(group=GROUP))


def test_every_verb_is_there_once():
    assert sorted(ROWS) == VERBS
    assert PAGE.count("| `hidemia ") == len(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_says_what_the_help_says(verb, capsys):
    assert main([verb, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert ROWS[verb].strip() in shown

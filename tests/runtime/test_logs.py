from __future__ import annotations

import json
import logging
import sys

from hidemia.runtime.logs import JsonLines, TextLines


def record(message="200 in %.1f ms", *values, **changes):
    made = logging.LogRecord("hidemia.runtime.app", logging.INFO, "app.py", 1, message, values, None)
    vars(made).update(changes)
    return made


def failure():
    try:
        raise ValueError("boom")
    except ValueError:
        return sys.exc_info()


def test_json():
    line = json.loads(JsonLines().format(record("200 in %.1f ms", 3.14, fields={"request": "ab", "status": 200})))
    time = line.pop("time")
    assert (len(time), time[-1]) == (24, "Z")
    assert line == {
        "level": "info",
        "logger": "hidemia.runtime.app",
        "message": "200 in 3.1 ms",
        "request": "ab",
        "status": 200,
    }


def test_json_is_one_line_whatever_happens():
    text = JsonLines().format(record("a\nb", exc_info=failure()))
    assert "\n" not in text
    assert json.loads(text)["message"] == "a\nb"
    assert json.loads(text)["traceback"].endswith("ValueError: boom")


def test_text():
    assert (
        TextLines()
        .format(record("a\n%s", "b", fields={"request": "ab"}))
        .endswith("Z INFO hidemia.runtime.app: a b request=ab")
    )
    assert TextLines().format(record("a", exc_info=failure())).endswith("ValueError: boom")

from __future__ import annotations

import pytest
from msgspec import Struct

from hidemia.runtime import BundleError, document


class Note(Struct):
    schema_version: int
    text: str = ""
    inner: dict[str, int] = {}


def decode(data: bytes) -> Note:
    return document.decode(data, Note, schema_version=3, name="n.json", mend="write it again")


def test_there_and_back():
    note = Note(3, "a", {"b": 1, "a": 2})
    data = document.encode(note)
    assert decode(data) == note
    assert data == b'{\n  "inner": {\n    "a": 2,\n    "b": 1\n  },\n  "schema_version": 3,\n  "text": "a"\n}\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"schema_version": 3, "text": "a", "text": "b"}', "Expected every key once, got `text` twice"),
        (b'{"schema_version": 3, "inner": {"a": 1, "a": 1}}', "Expected every key once, got `a` twice"),
        (b'{"schema_version": 3, "later": [{"x": 1, "x": 1}]}', "Expected every key once, got `x` twice"),
        (b'{"schema_version": 3, "later": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"schema_version": 3, "text": 1}', "Expected `str`, got `int` - at `$.text`"),
        (b'{"schema_version": 3, "inner": {"a": 1e400}}', "Number out of range"),
        (b'{"schema_version": 3, "text": "', "Input data was truncated"),
        (b'\xff{"schema_version": 3}', "JSON is malformed"),
    ],
)
def test_what_is_wrong(data, message):
    with pytest.raises(BundleError) as caught:
        decode(data)
    assert str(caught.value).startswith(f"n.json: not a valid note: {message}")
    assert str(caught.value).endswith("; write it again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("version", "way"), [(2, "write it again"), (4, "update hidemia"), (-1, "write it again")])
def test_another_schema(version, way):
    with pytest.raises(BundleError) as caught:
        decode(b'{"schema_version": %d, "text": 7}' % version)
    assert str(caught.value) == f"n.json: expected schema version 3, got {version}; {way}"

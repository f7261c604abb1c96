from __future__ import annotations

import json

import pytest

from hidemia.runtime import BundleError, receipt


@pytest.fixture
def written(tiny):
    return receipt.dump(tiny.make_receipt(b"plan", b"onnx"))


def test_canonical_bytes(written):
    assert receipt.dump(receipt.load(written)) == written
    assert written == json.dumps(json.loads(written), indent=2, sort_keys=True).encode() + b"\n"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("plans", 0, "path"), "../x.plan", "Expected a file name, got '../x.plan' - at `$.plans[0]`"),
        (("plans", 0, "path"), "a/x.plan", "Expected a file name, got 'a/x.plan' - at `$.plans[0]`"),
        (("plans", 0, "size_bytes"), -1, "Expected `int` >= 1 - at `$.plans[0].size_bytes`"),
        (("plans", 0, "batch"), [4, 1, 8], "Expected a batch that grows, got [4, 1, 8] - at `$.plans[0]`"),
        (
            ("plans", 0, "hardware_compatibility"),
            "all",
            "Invalid enum value 'all' - at `$.plans[0].hardware_compatibility`",
        ),
        (("plans",), [], "Expected `array` of length >= 1 - at `$.plans`"),
        (("tensorrt",), None, "Expected `str`, got `null` - at `$.tensorrt`"),
    ],
)
def test_what_is_wrong_and_where(written, path, value, message):
    content = json.loads(written)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BundleError) as caught:
        receipt.load(json.dumps(content).encode(), "r.json")
    assert str(caught.value) == (f"r.json: not a valid receipt: {message}; build the plans again: hidemia build")


def test_another_schema():
    with pytest.raises(BundleError) as caught:
        receipt.load(b'{"schema_version": 2}', "r.json")
    assert str(caught.value) == ("r.json: expected schema version 1, got 2; update hidemia")

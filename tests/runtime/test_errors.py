from __future__ import annotations

import pytest

from hidemia.runtime import errors

CODES = {
    "ImageError": 2,
    "DataError": 2,
    "BundleError": 1,
    "EngineError": 1,
    "ReplyError": 1,
    "CoverError": 1,
    "TransportError": 1,
    "ExportError": 1,
}


def test_the_root_has_exactly_eight_kinds():
    assert {kind.__name__ for kind in errors.HidemiaError.__subclasses__()} == set(CODES)


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_exit_codes(name, code):
    kind = getattr(errors, name)
    assert kind("x").exit_code == code
    assert kind("x", exit_code=7).exit_code == 7
    assert str(kind("what went wrong")) == "what went wrong"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("got RGB\nSIGMOID", r"got RGB\nSIGMOID"),
        ("got \x1b[2J\x00\x85", r"got \x1b[2J\x00\x85"),
        ("/scans/caf\u00e9  2.dcm", "/scans/caf\u00e9  2.dcm"),
        ("/scans/\udcff.dcm", r"/scans/\udcff.dcm"),  # a file name that is no UTF-8
    ],
)
def test_what_does_not_print_is_escaped(message, shown):
    assert str(errors.ImageError(message)) == shown

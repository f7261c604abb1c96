from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from hidemia.runtime import BundleError, folder


@pytest.fixture
def inside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"x")
    return tmp_path / "in"


def test_read(inside):
    assert folder.read(inside, inside / "file", 9) == b"12345"
    assert folder.read(inside, inside / "file", 2) == b"123"  # one more than allowed tells that it is too long
    assert folder.size(inside, inside / "file") == 5


def test_links(inside, tmp_path):
    (inside / "link").symlink_to("file")
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "round").symlink_to("round")
    (tmp_path / "alias").symlink_to(inside)
    assert folder.read(inside, inside / "link", 9) == b"12345"
    assert folder.read(tmp_path / "alias", tmp_path / "alias" / "file", 9) == b"12345"
    with pytest.raises(BundleError) as caught:
        folder.read(inside, inside / "out", 9)
    assert str(caught.value) == (
        f"{inside / 'out'}: expected a file inside {inside}, got a link to {tmp_path / 'secret'}; copy the file itself"
    )
    with pytest.raises(BundleError, match="round: expected a readable file, got"):
        folder.read(inside, inside / "round", 9)
    with pytest.raises(BundleError, match=r"expected a file inside .*, got a link to"):
        folder.read(inside, inside / ".." / "secret", 9)


def test_no_file(inside):
    os.mkfifo(inside / "pipe")  # opening it would wait for ever
    for name in ("pipe", "."):
        with pytest.raises(BundleError, match="expected a file, got something else of that name"):
            folder.read(inside, inside / name, 9)
    with pytest.raises(FileNotFoundError):
        folder.read(inside, inside / "none", 9)
    with pytest.raises(NotADirectoryError):
        folder.read(inside, inside / "file" / "x", 9)
    with pytest.raises(BundleError, match="expected a readable file, got File name too long"):
        folder.read(inside, inside / ("x" * 300), 9)
    with pytest.raises(BundleError, match=r"expected a readable file, got .*embedded null"):
        folder.read(inside, inside / "a\0b", 9)


def test_a_folder_that_cannot_be_written(ordinary_account):
    with tempfile.TemporaryDirectory() as place:
        closed = Path(place) / "closed"
        closed.mkdir()
        Path(place).chmod(0o755)
        closed.chmod(0o555)
        with ordinary_account():
            for name in (closed, closed / "plans" / "new"):
                with pytest.raises(BundleError) as caught:
                    folder.check_writable(name)
                assert str(caught.value) == (
                    f"{name}: expected a folder that this account can write, got Permission denied; "
                    "give it the right to, or name another folder"
                )


def test_a_folder_that_can(tmp_path):
    folder.check_writable(tmp_path / "new" / "plans")
    assert list((tmp_path / "new" / "plans").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match="got File exists"):
        folder.check_writable(tmp_path / "file")

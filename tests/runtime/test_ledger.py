from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hidemia.runtime import CoverError
from hidemia.runtime.ledger import Ledger, default_path, pixels_key


def test_default_path(monkeypatch, tmp_path):
    assert default_path() == tmp_path / "state" / "hidemia" / "covers.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert default_path() == Path.home() / ".local/state/hidemia/covers.sqlite"


def test_a_cover_is_bound_for_ever(rng):
    cover = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Ledger().bind(cover, b"a")
    Ledger().bind(cover.copy(), b"a")
    with pytest.raises(CoverError) as caught:
        Ledger().bind(cover, b"b")
    assert str(caught.value) == (
        "cover: expected one that was never used, got one that already carries another secret; take another cover"
    )
    Ledger().bind(cover, b"a")
    assert Ledger().bound_to(b"a") == {pixels_key(cover)}
    assert Ledger().bound_to(b"b") == set()


def test_only_its_owner_reads_it(tmp_path):
    ledger = Ledger()
    ledger.try_bind(b"k", b"a")
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_the_key_knows_the_shape():
    assert pixels_key(np.zeros((32, 64, 3), np.uint8)) != pixels_key(np.zeros((64, 32, 3), np.uint8))


def test_a_ledger_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CoverError, match="expected a ledger of covers that can be written"):
        Ledger(tmp_path / "file" / "covers.sqlite").try_bind(b"k", b"a")
    (tmp_path / "broken.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(CoverError, match="nobody knows which covers are used"):
        Ledger(tmp_path / "broken.sqlite").try_bind(b"k", b"a")


def test_one_winner_among_processes(tmp_path):
    code = (
        "import sys; from hidemia.runtime.ledger import Ledger\n"
        "won = [Ledger(sys.argv[1]).try_bind(b'k%d' % i, sys.argv[2].encode()) for i in range(40)]\n"
        "print(sum(won))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "l.sqlite"), name], stdout=subprocess.PIPE)
        for name in "abc"
    ]
    won = [int(process.communicate()[0]) for process in processes]
    assert sum(won) == 40

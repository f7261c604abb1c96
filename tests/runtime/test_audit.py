from __future__ import annotations

import errno
import json
import os
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hidemia.runtime.audit import AuditLog

MANIFEST = "a" * 64


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def audit(tmp_path):
    audit = AuditLog(tmp_path / "audit.jsonl", MANIFEST)
    yield audit
    audit.close()


@pytest.fixture
def full_disk():
    """While it is on, no file of this process grows beyond the size given; writing there fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


def test_a_line(audit):
    audit.append({"event": "photo", "status": 200})
    opened, photo = lines(audit.path)
    assert opened == {"time": opened["time"], "manifest_sha256": MANIFEST, "event": "opened"}
    assert list(photo) == ["time", "manifest_sha256", "event", "status"]
    assert photo["time"][-1] == "Z"
    assert audit.path.stat().st_mode & 0o777 == 0o600


def test_it_appends_to_what_is_there(audit):
    before = audit.path.read_bytes()
    AuditLog(audit.path, MANIFEST).close()
    assert audit.path.read_bytes().startswith(before)
    assert len(lines(audit.path)) == 2


def test_lines_of_many_threads_and_files_never_mix(audit):
    other = AuditLog(audit.path, MANIFEST)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: (audit, other)[n % 2].append({"n": n, "text": "x" * 3000}), range(200)))
    other.close()
    assert sorted(line["n"] for line in lines(audit.path) if "n" in line) == list(range(200))


def test_rotation_loses_nothing(audit, tmp_path):
    """As logrotate does it: rename, then tell the process, while lines go on."""
    stop = threading.Event()
    written = []

    def write() -> None:
        while not stop.is_set():
            audit.append({"n": len(written)})
            written.append(len(written))

    writer = threading.Thread(target=write)
    writer.start()
    for turn in range(5):
        audit.path.rename(tmp_path / f"old{turn}")
        audit.reopen()
    stop.set()
    writer.join()
    files = [*(tmp_path / f"old{turn}" for turn in range(5)), audit.path]
    assert [line["n"] for file in files for line in lines(file) if "n" in line] == written


def test_a_full_disk_is_an_error_and_tears_one_line_at_most(audit, full_disk):
    full_disk(audit.path.stat().st_size + 20)
    for _ in range(2):
        with pytest.raises(OSError, match=r"only 20 of|File too large") as caught:
            audit.append({"event": "lost"})
        assert caught.value.errno in (None, errno.EFBIG)
        assert audit.is_failing
    full_disk(None)
    audit.append({"event": "well"})
    assert not audit.is_failing
    opened, torn, well = audit.path.read_bytes().splitlines()
    assert json.loads(opened)["event"] == "opened"
    assert len(torn) == 20
    assert json.loads(well)["event"] == "well"


def test_a_line_that_a_power_cut_tore_stays_alone(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"torn')
    AuditLog(path, MANIFEST).close()
    whole, torn, opened = path.read_bytes().splitlines()
    assert (json.loads(whole), torn, json.loads(opened)["event"]) == ({"whole": 1}, b'{"torn', "opened")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "nowhere"])
def test_only_a_regular_file_will_do(tmp_path, kind):
    path = {"folder": tmp_path, "device": "/dev/full", "nowhere": tmp_path / "no" / "file"}.get(kind, tmp_path / "pipe")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError):  # noqa: PT011  the system's words differ
        AuditLog(path, MANIFEST)


def test_a_failed_reopening_keeps_the_old_file(audit, tmp_path):
    old = tmp_path / "old"
    audit.path.rename(old)
    audit.path.mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        audit.reopen()
    audit.append({"event": "after"})
    assert [line["event"] for line in lines(old)] == ["opened", "after"]
    audit.path.rmdir()


def test_what_cannot_be_opened_or_written_leaves_no_handle(audit, full_disk, tmp_path, monkeypatch):
    """A server on a sick disk asks again and again, for days."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    def sick(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", sick)
        for again in (audit.reopen, lambda: AuditLog(tmp_path / "other.jsonl", MANIFEST)):
            with pytest.raises(OSError, match="Input/output"):
                again()
    full_disk(10)
    with pytest.raises(OSError, match=r"only 10 of|File too large"):
        AuditLog(tmp_path / "third.jsonl", MANIFEST)
    full_disk(None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

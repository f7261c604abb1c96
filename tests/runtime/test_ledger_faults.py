"""What a disk, a power cut and other processes can do to the ledger: an error of one line, and no cover used twice."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hidemia.runtime import CoverError, CoverPool, png
from hidemia.runtime.ledger import Ledger

# What `run` puts before a program.
HEAD = """
import os, sys, sqlite3
from hidemia.runtime import CoverError, CoverPool
from hidemia.runtime.ledger import Ledger

def outcome(ledger, key, binding=b'x'):
    try:
        return 'bound' if ledger.try_bind(key, binding) else 'used'
    except CoverError as error:
        assert '\\n' not in str(error)
        return f'CoverError {error}'
"""


def run(code: str, *arguments: object, before: tuple[str, ...] = ()) -> list[str]:
    """Run a program in a process of its own and return its lines."""
    done = subprocess.run(
        [*before, sys.executable, "-c", HEAD + textwrap.dedent(code), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def path(tmp_path) -> Path:
    """A ledger with 2,000 covers, k0 to k1999, each bound to its own number."""
    path = tmp_path / "covers.sqlite"
    Ledger(path).try_bind(b"first", b"first")
    with sqlite3.connect(path) as database:
        rows = [(b"k%d" % number, b"%d" % number) for number in range(2000)]
        database.executemany("INSERT INTO cover VALUES (?, ?)", rows)
    database.close()
    return path


@pytest.fixture(scope="module")
def mounting() -> tuple[str, ...]:
    """A prefix that runs a command where it may mount."""
    for prefix in (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount")):
        probe = [*prefix, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if shutil.which("unshare") and subprocess.run(probe, check=False, capture_output=True).returncode == 0:
            return prefix
    pytest.skip("no mounts are allowed here, so that no small disk can be made")


@pytest.fixture
def folder(tmp_path, tiny, rng) -> Path:
    """Photos with 36 tiles of 64 px."""
    path = tmp_path / "photos"
    path.mkdir()
    for number in range(4):
        (path / f"{number}.png").write_bytes(png.encode(tiny.photo(rng, 192, 192)))
    return path


def test_disk_full(tmp_path, mounting):
    """A disk of 64 KiB: what was bound stays bound, the cover that could not be is free once there is room."""
    code = """
    import subprocess
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', sys.argv[1]], check=True)
    ledger = Ledger(os.path.join(sys.argv[1], 'covers.sqlite'))
    print(outcome(ledger, b'before'))
    room = open(os.path.join(sys.argv[1], 'fill'), 'wb', buffering=0)
    try:
        while True: room.write(bytes(512))
    except OSError as error:
        print(error.strerror)
    print(outcome(ledger, b'after'))
    room.truncate(0)
    print(outcome(ledger, b'before', b'other'), outcome(ledger, b'before'), outcome(ledger, b'after', b'other'))
    ledger.check()
    """
    before, full, after, later = run(code, tmp_path, before=mounting)
    assert before == "bound"
    assert full == "No space left on device"
    assert after.startswith(
        f"CoverError {tmp_path}/covers.sqlite: expected a ledger of covers that can be written, got:"
    )
    assert after.endswith("free the disk or fix its permissions, never delete it")
    assert later == "used bound bound"


def test_a_file_that_may_not_grow(path):
    """The quota's way to be full, at every size on the way: each bind is done or refused, none is half there."""
    code = """
    import resource
    ledger, size = Ledger(sys.argv[1]), os.path.getsize(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, resource.RLIM_INFINITY))
    done = [outcome(ledger, os.urandom(4000)) for _ in range(6)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.check()
    with sqlite3.connect(sys.argv[1]) as database:
        print(database.execute('SELECT count(*) FROM cover').fetchone()[0] - 2001, done.count('bound'))
    print(done[-1])
    print(outcome(ledger, b'k7', b'other'), outcome(ledger, b'new'))
    """
    counts, refused, later = run(code, path)
    there, bound = map(int, counts.split())
    assert there == bound < 6
    assert refused.startswith("CoverError ")
    assert later == "used bound"


def test_a_read_only_disk(tmp_path, path, mounting):
    code = """
    import subprocess
    subprocess.run(['mount', '--bind', sys.argv[1], sys.argv[1]], check=True)
    subprocess.run(['mount', '-o', 'remount,ro,bind', sys.argv[1]], check=True)
    print(outcome(Ledger(os.path.join(sys.argv[1], 'covers.sqlite')), b'new'))
    print(outcome(Ledger(os.path.join(sys.argv[1], 'sub', 'covers.sqlite')), b'new'))
    """
    for line in run(code, tmp_path, before=mounting):
        assert line.startswith("CoverError ")
        assert line.endswith("free the disk or fix its permissions, never delete it")
    assert Ledger(path).try_bind(b"new", b"x")


def test_a_folder_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the administrator may write everywhere; the read-only disk is the check there")
    tmp_path.chmod(0o500)
    with pytest.raises(CoverError, match="fix its permissions"):
        Ledger(tmp_path / "covers.sqlite").try_bind(b"k", b"x")
    tmp_path.chmod(0o700)


def test_locked_by_another_process(path, monkeypatch):
    monkeypatch.setattr("hidemia.runtime.ledger._WAIT_S", 0.2)
    code = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('BEGIN EXCLUSIVE'); print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-uc", code, str(path)], **pipes) as holder:
        holder.stdout.readline()
        with pytest.raises(CoverError) as caught:
            Ledger(path).try_bind(b"new", b"x")
        holder.communicate(b"\n", timeout=60)
    assert str(caught.value) == (
        f"{path}: expected a ledger of covers that can be written, got: database is locked; "
        "end the process that holds it, never delete it"
    )
    assert Ledger(path).try_bind(b"new", b"x")


@pytest.mark.parametrize("damage", ["header", "page", "bit", "half", "text"])
def test_a_damaged_ledger_gives_no_cover(path, folder, damage):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    if damage == "header":
        data[:100] = bytes(100)
    elif damage == "page":
        data[middle : middle + 4096] = np.random.default_rng(0).bytes(4096)
    elif damage == "bit":  # SQLite itself would pass it, and call k1234 unused
        data[data.index(b"k1234") + 4] ^= 1
    elif damage == "half":
        del data[middle:]
    else:
        data = bytearray(b"no database" * 1000)
    path.write_bytes(data)
    with pytest.raises(CoverError) as caught:
        CoverPool(folder, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected a ledger of covers that can be written, got: ")
    assert message.endswith("; nobody knows which covers are used: keep it aside and begin a new one with new photos")
    assert "\n" not in message
    assert path.read_bytes() == data


def test_something_else_in_its_place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none" / "covers.sqlite")
    for name in ("folder", "loop", "nowhere", "loop/covers.sqlite", "nowhere/covers.sqlite"):
        with pytest.raises(CoverError, match="expected a ledger of covers that can be written"):
            Ledger(tmp_path / name).try_bind(b"k", b"x")


def test_versions(path):
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        database.execute("PRAGMA user_version = 0")  # as before ledgers had a version
    database.close()
    assert not Ledger(path).try_bind(b"k5", b"other")
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(CoverError) as caught:
        Ledger(path).try_bind(b"new", b"x")
    assert str(caught.value) == f"{path}: expected a ledger of version 1 or older, got 2; update hidemia"


def test_power_cut_in_the_middle_of_a_write(path, tmp_path):
    """The disk as it is then: pages of the database half written, and the journal beside it."""
    cut = tmp_path / "cut"
    cut.mkdir()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO cover VALUES (?, ?)", [(b"n%d" % number, b"x") for number in range(3000)])
    for file in (path, path.with_name(f"{path.name}-journal")):
        shutil.copy(file, cut / file.name)
    database.close()
    assert (cut / path.name).read_bytes() != path.read_bytes()
    ledger = Ledger(cut / path.name)
    ledger.check()
    assert ledger.bound_to(b"x") == set()
    assert not ledger.try_bind(b"k1999", b"other")
    assert ledger.try_bind(b"n0", b"other")


def test_what_is_bound_is_on_the_disk_before_anybody_hears_of_it(tmp_path):
    """The system calls in their order: data and journal reach the disk, then the journal goes, then its folder does."""
    if shutil.which("strace") is None:
        pytest.skip("strace shows the system calls")
    log = tmp_path / "calls"
    trace = ("strace", "-f", "-y", "-e", "trace=fsync,fdatasync,unlink,unlinkat,write", "-o", str(log))
    run("print(outcome(Ledger(sys.argv[1]), b'k'), flush=True)", tmp_path / "a" / "b" / "l.sqlite", before=trace)
    calls = log.read_text().splitlines()

    def last(*words: str) -> int:
        return max(at for at, call in enumerate(calls) if all(word in call for word in words))

    journal_gone = last("unlink", "l.sqlite-journal")
    assert last("sync(", "l.sqlite-journal>") < last("sync(", "l.sqlite>") < journal_gone
    assert journal_gone < last("sync(", "/a/b>") < last("write(1", "bound")
    for made in (str(tmp_path), str(tmp_path / "a")):
        assert last("sync(", f"{made}>") < last("sync(", "l.sqlite-journal>")


def test_eight_processes_on_one_pool(folder, tmp_path):
    """Each takes until none is left: every tile goes to one of them."""
    code = """
    import hashlib
    sys.stdin.readline()
    pool = CoverPool(sys.argv[1], sys.argv[2], warn_below=1)
    try:
        for number in range(100):
            print(hashlib.sha256(pool.take(f'{sys.argv[3]} {number}'.encode(), 64)).hexdigest())
    except CoverError as error:
        print(error)
    """
    command = [sys.executable, "-c", HEAD + textwrap.dedent(code), folder, tmp_path / "l.sqlite"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(8)]
    for process in processes:  # all together, once each is there
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=240)[0].splitlines() for process in processes]
    assert all("expected an unused tile of 64x64 px, got none left" in output[-1] for output in outputs)
    taken = [line for output in outputs for line in output[:-1]]
    assert len(taken) == len(set(taken)) == 36


def test_killed_between_binding_and_hiding(folder, tmp_path, model, tiny):
    """The tile stays spent; only the secret that it was bound to gets it again."""
    code = """
    import time
    import numpy as np
    from hidemia.runtime import Client, photo
    client = Client.load(sys.argv[1])
    def hide(secret, cover):
        np.save(sys.argv[4], cover)
        print('bound', flush=True)
        time.sleep(600)
    client.hide = hide
    client.send(np.load(sys.argv[5]), 'http://127.0.0.1:9', covers=CoverPool(sys.argv[2], sys.argv[3]))
    """
    ledger, taken, secret = tmp_path / "l.sqlite", tmp_path / "taken.npy", tmp_path / "secret.npy"
    np.save(secret, tiny.secret())
    arguments = [str(item) for item in (model.client, folder, ledger, taken, secret)]
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(code), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"bound\n", process.communicate()[1]
        process.send_signal(signal.SIGKILL)
    from hidemia.runtime import manifest, trip

    manifest = manifest.load((model.client / "manifest.json").read_bytes())
    others = [trip.take(manifest, tiny.secret() // part, covers=CoverPool(folder, ledger)) for part in (2, 3)]
    again = trip.take(manifest, tiny.secret(), covers=CoverPool(folder, ledger))
    assert np.array_equal(again, np.load(taken))
    assert not any(np.array_equal(again, other) for other in others)


@pytest.mark.parametrize("year", [1970, 2099])
def test_no_clock_counts(folder, tmp_path, year):
    """Files and ledger as of another year: what is used stays used."""
    ledger = tmp_path / "l.sqlite"
    pool = CoverPool(folder, ledger)
    first = pool.take(b"x", 64)
    for number in range(35):
        pool.take(b"%d" % number, 64)
    moment = (year - 1970) * 365.25 * 86400
    for file in (*folder.iterdir(), ledger):
        os.utime(file, (moment, moment))
    pool = CoverPool(folder, ledger)
    with pytest.raises(CoverError, match="got none left"):
        pool.take(b"new", 64)
    assert np.array_equal(pool.take(b"x", 64), first)
    with sqlite3.connect(ledger) as database:
        columns = {row[1] for table in ("cover", "spent") for row in database.execute(f"PRAGMA table_info({table})")}
    database.close()
    assert columns == {"pixels", "binding", "photo"}

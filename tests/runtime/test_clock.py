"""A clock that is set back changes nothing, for nothing that decides reads it."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime"
WALL = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime"}
MODULES = {"time", "datetime", "date"}


def wall_clock_reads(source: str) -> list[str]:
    """Calls of `time.time`, `datetime.now` and their like, however they were imported."""
    tree = ast.parse(source)
    bare = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in MODULES
        for name in node.names
        if name.name in WALL
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if owner in MODULES and name in WALL:
                found.append(f"{owner}.{name}")
            case ast.Call(func=ast.Name(id=name)) if name in bare:
                found.append(name)
    return found


def test_what_is_looked_for_is_found():
    source = "import time\nfrom time import time as t\nfrom datetime import datetime\ntime.time(), t(), datetime.now()"
    assert wall_clock_reads(source) == ["time.time", "t", "datetime.now"]
    assert wall_clock_reads("from time import monotonic, sleep\nmonotonic(), sleep(1)") == []


def test_only_the_audit_log_reads_the_wall_clock_and_only_to_write_it_down():
    reads = {file.name: found for file in RUNTIME.rglob("*.py") if (found := wall_clock_reads(file.read_text()))}
    assert reads == {"audit.py": ["datetime.now"]}


def test_a_trip_while_the_clock_goes_back(start, model, tmp_path, tiny, rng):
    """A device whose every reading of the clock is a day before the last one: same photo, same result, one cover."""
    import numpy as np

    from hidemia.runtime import png

    serving = start("--server", model.server)
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.png").write_bytes(png.encode(tiny.photo(rng, 192, 192)))
    np.save(tmp_path / "secret.npy", tiny.secret())
    code = """
    import itertools, sqlite3, sys, time
    days = itertools.count()
    time.time = lambda: 4e9 - 86400.0 * next(days)
    import numpy as np
    from hidemia.runtime import Client, CoverPool
    secret = np.load(sys.argv[2] + "/secret.npy")
    with Client.load(sys.argv[1]) as client:
        pools = [CoverPool(sys.argv[2] + "/covers", sys.argv[2] + "/l.sqlite", warn_below=1) for _ in range(2)]
        masks = [client.send(secret, sys.argv[3], covers=pool).mask for pool in pools]
    assert next(days) > 1, "nobody asked"
    with sqlite3.connect(sys.argv[2] + "/l.sqlite") as database:
        covers = database.execute("SELECT count(*) FROM cover").fetchone()[0]
    print(covers, np.array_equal(masks[0], masks[1]), np.array_equal(masks[0] > 0, secret[..., 0] > 128))
    """
    arguments = [str(model.client), str(tmp_path), serving.url]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], check=False, capture_output=True, text=True
    )
    assert done.stdout == "1 True True\n", done.stderr

import os
import sys
import time

import httpx
import pytest

from hidemia.runtime.demo.process import running
from hidemia.runtime.errors import TransportError

READY = """
import argparse, http.server, os, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("--host", "--port", "--health-port", "--note"):
    parser.add_argument(name)
given = parser.parse_args()
pathlib.Path(given.note).write_text(str(os.getpid()))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer((given.host, int(given.health_port)), Handler).serve_forever()
"""


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("problem", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_server_is_stopped_however_the_block_ends(tmp_path, problem):
    def use():
        with running((sys.executable, "-c", READY, "--note", str(tmp_path / "pid"))) as url:
            assert httpx.URL(url).host == "127.0.0.1"
            assert _alive(int((tmp_path / "pid").read_text()))
            if problem is not None:
                raise problem

    if problem is None:
        use()
    else:
        with pytest.raises(problem):
            use()
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_a_server_that_ends_says_why():
    with (
        pytest.raises(TransportError, match="no such bundle") as caught,
        running((sys.executable, "-c", "import sys; sys.exit('no such bundle')")),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_server_that_never_gets_ready():
    start = time.monotonic()
    with (
        pytest.raises(TransportError, match="ready"),
        running((sys.executable, "-c", "import time; time.sleep(60)"), start_s=0.5),
    ):
        pass
    assert time.monotonic() - start < 10

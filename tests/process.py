"""A real `hidemia serve` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

READY = re.compile(r"serving (\S+) on (\S+), health and metrics on (\S+)\n")
METRIC = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


class Process:
    """Started when made, on free ports; its log goes to a file, which never fills up as a pipe would."""

    def __init__(self, *arguments: str, **environment: str):
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hidemia.runtime.cli", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **environment},
        )
        match = READY.fullmatch(self.process.stdout.readline())
        if not match:
            self.kill()
            raise AssertionError(self.log())
        self.name, self.url, self.health = match.groups()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """All that it wrote to the standard error so far."""
        if not self._log.closed:
            # The descriptor's place is shared with the process: reading must not move it.
            self._text = os.pread(self._log.fileno(), 1 << 30, 0).decode()
        return self._text

    def metrics(self) -> dict[str, float]:
        """Samples of `/metrics` by name and labels."""
        text = httpx.get(f"{self.health}/metrics", timeout=30, trust_env=False).text
        return {name: float(value) for name, value in METRIC.findall(text)}

    def memory_mib(self, line: str = "VmRSS") -> float:
        """Resident memory now, or its peak as `VmHWM`; Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{line}:\s+(\d+) kB", status, re.MULTILINE).group(1)) / 1024

    def signal(self, kind: signal.Signals) -> None:
        self.process.send_signal(kind)

    def stop(self) -> tuple[int, str]:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        self._end()
        return self.process.returncode, self.log()

    def kill(self) -> None:
        """SIGKILL: what a power cut is to a process."""
        self.process.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait(60)
        self.process.stdout.close()
        self.log()
        self._log.close()

"""What the machine draws, from the meters that Linux shows: NVIDIA GPUs, a Jetson's rails, Intel's and AMD's RAPL."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hidemia.benchmarks.report.measurements import Power

PERIOD_S = 0.1
IDLE_S = 3.0
NONE_FOUND = (
    "this machine shows no meter: no NVIDIA GPU that tells its draw, no INA3221 rails of a Jetson, and no readable "
    "RAPL counter (/sys/class/powercap, which only root may read)"
)


@dataclass(frozen=True)
class Meter:
    """A source of watts.

    Attributes:
        name: What it is and what it covers.
        energy: Whether `read` gives joules that only grow; watts of this moment otherwise.
        read: Gives one reading.
        wraps_j: Joules after which a counter starts at 0 again.
    """

    name: str
    energy: bool
    read: Callable[[], float]
    wraps_j: float = 0.0


def find(root: Path = Path("/"), smi: Callable[[], str] | None = None) -> Meter | None:
    """The first meter of this machine, the one that covers most of the work first; None without one.

    Args:
        root: The folder that stands for `/`.
        smi: Gives what `nvidia-smi` says of the draw in watts, a line a GPU.
    """
    return _nvml(smi or _smi) or _rails(root) or _rapl(root)


def measure(meter: Meter | None, work: Callable[[], object], runs: int) -> Power:
    """Watts at rest and at work, and joules of one run, rest included.

    Args:
        meter: From `find`.
        work: One run.
        runs: How many.
    """
    if meter is None:
        return Power(reason=NONE_FOUND)
    idle_w, _ = _watts(meter, lambda: time.sleep(IDLE_S))
    busy_w, seconds = _watts(meter, lambda: [work() for _ in range(runs)])
    return Power(
        source=meter.name,
        idle_w=round(idle_w, 2),
        busy_w=round(busy_w, 2),
        joules_per_trip=round(busy_w * seconds / runs, 3),
    )


def _watts(meter: Meter, work: Callable[[], object]) -> tuple[float, float]:
    """Mean watts while something is done, and its seconds."""
    start = time.perf_counter()
    if meter.energy:
        before = meter.read()
        work()
        seconds = time.perf_counter() - start
        return spent(before, meter.read(), meter.wraps_j) / seconds, seconds
    done, readings = threading.Event(), [meter.read()]

    def watch() -> None:
        while not done.wait(PERIOD_S):
            readings.append(meter.read())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return statistics.mean(readings), time.perf_counter() - start


def spent(before_j: float, after_j: float, wraps_j: float) -> float:
    """Joules between two readings of a counter that may have started again once."""
    return after_j - before_j if after_j >= before_j else after_j - before_j + wraps_j


def _nvml(smi: Callable[[], str]) -> Meter | None:
    if _total(smi()) is None:
        return None
    return Meter("NVIDIA driver (NVML), all GPUs", energy=False, read=lambda: _total(smi()) or 0.0)


def _total(text: str) -> float | None:
    """The sum over GPUs; None where one does not tell."""
    try:
        return sum(float(line) for line in text.split()) if text.strip() else None
    except ValueError:  # [N/A]
        return None


def _smi() -> str:
    command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        # Every argument is ours.
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _rails(root: Path) -> Meter | None:
    """A Jetson's INA3221: volts (mV) times amperes (mA); VDD_IN or POM_5V_IN is the whole module."""
    for folder in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
        for label in sorted(folder.glob("in*_label")):
            name = _text(label)
            if name in ("VDD_IN", "POM_5V_IN"):
                number = label.name[2:-6]
                volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
                if _text(volts).isdecimal() and _text(amperes).isdecimal():
                    return Meter(
                        f"Jetson rail {name}, the whole module",
                        energy=False,
                        read=lambda v=volts, a=amperes: int(_text(v)) * int(_text(a)) / 1e6,  # type: ignore[misc]
                    )
    return None


def _rapl(root: Path) -> Meter | None:
    """The processor packages, from counters in microjoules."""
    packages = [
        folder for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")) if ":" not in folder.name[11:]
    ]
    files = [folder / "energy_uj" for folder in packages]
    if not files or not all(_text(file).isdecimal() for file in files):
        return None
    wraps_uj = sum(int(_text(folder / "max_energy_range_uj") or 0) for folder in packages)
    return Meter(
        "RAPL, the processor packages without memory and board",
        energy=True,
        read=lambda: sum(int(_text(file)) for file in files) / 1e6,
        wraps_j=wraps_uj / 1e6,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""

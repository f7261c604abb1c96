"""Long runs against real server processes on loopback: `make soak`, or `python -m tests.soak --help`.

Each part is written down as soon as it has ended, so a run that was cut off goes on with the part it was in.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.soak import progress
from tests.soak.parts import CORES, PARTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts alone")
    parser.add_argument("--share", type=_share, default=1.0, help="of every count and duration, 0..1 (default: 1)")
    parser.add_argument("--fresh", action="store_true", help="run again what has been run with this very code")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of soak.json and soak.md")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # the servers inherit it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    code = progress.code_sha256()
    report = progress.read(options.out)
    due = options.only if options.fresh else progress.remaining(report, options.only, code, options.share)
    for number, name in enumerate(due, 1):
        sys.stdout.write(f"{number}/{len(due)} {name}\n")
        sys.stdout.flush()
        report[name] = progress.entry(PARTS[name], code, options.share)
        progress.write(options.out, report)
    failures = [f"{name}: {failure}" for name in options.only for failure in report[name]["failures"]]
    sys.stdout.write("".join(f"{line}\n" for line in failures) or "all holds\n")
    return 1 if failures else 0


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1, got {text}")
    return share


if __name__ == "__main__":
    sys.exit(main())

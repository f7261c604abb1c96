"""``python -m hidemia.benchmarks.attacks`` is ``hidemia attacks``."""

from __future__ import annotations

import sys

from hidemia.benchmarks.attacks.command import attacks

if __name__ == "__main__":
    sys.exit(attacks(sys.argv[1:]))

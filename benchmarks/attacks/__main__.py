"""``python -m hidemia.benchmarks.attacks`` is ``hidemia attacks``."""

from __future__ import annotations

import sys

from hidemia.benchmarks.attacks.command import attacks
from hidemia.training.errors import one_line

if __name__ == "__main__":
    sys.exit(one_line("python -m hidemia.benchmarks.attacks")(attacks)(sys.argv[1:]))

"""What training refuses, and how a module that is run by itself says it.

`exit_code` is what `hidemia` leaves with: 1 the work failed, 2 a wrong call.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

Command = Callable[[list[str]], int]


class TrainingError(Exception):
    """Training could not go on; one line: what, expected, got, what to do."""

    exit_code = 1


class DatasetError(TrainingError):
    """A folder of images is not what training can use; the line names the file."""

    exit_code = 2


def one_line(name: str) -> Callable[[Command], Command]:
    """Let ``python -m hidemia...`` end as ``hidemia VERB`` does: what is refused is one line, and an exit code.

    Refused is every error of any layer that has an integer `exit_code`, and what the system refuses (OSError: 1).
    Anything else is a bug and keeps its traceback.

    Args:
        name: of the command, as it is typed; the line begins with it.
    """

    def wrap(command: Command) -> Command:
        @functools.wraps(command)
        def run(arguments: list[str]) -> int:
            try:
                return command(arguments)
            except Exception as error:
                code = 1 if isinstance(error, OSError) else getattr(error, "exit_code", None)
                if not isinstance(code, int):
                    raise
                sys.stderr.write(f"{name}: {' '.join(str(error).split())}\n")
                return code

        return run

    return wrap

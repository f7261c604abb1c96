"""What training refuses. `exit_code` is what `hidemia` leaves with: 1 the work failed, 2 a wrong call."""

from __future__ import annotations


class TrainingError(Exception):
    """Training could not go on; one line: what, expected, got, what to do."""

    exit_code = 1


class DatasetError(TrainingError):
    """A folder of images is not what training can use; the line names the file."""

    exit_code = 2

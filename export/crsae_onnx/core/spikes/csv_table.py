"""Spikes as a table of text: ``time_s,unit,amplitude,sample``, one spike a line, in order of time (NumPy)."""

from __future__ import annotations

import csv
import os
from typing import TextIO

import numpy as np

from crsae_onnx.core.spikes.detector import Spikes

#: Columns: seconds, row of the templates, extremum in the recording's unit, sample of the extremum.
COLUMNS = ("time_s", "unit", "amplitude", "sample")


def write_header(file: TextIO) -> None:
    """The line with the columns' names; ``file``: open for text."""
    file.write(",".join(COLUMNS) + "\n")


def write_rows(file: TextIO, spikes: Spikes, sampling_frequency: float) -> None:
    """A line for each spike; ``read_table`` gives back the same samples, units and values, bit for bit.

    Example:
        >>> import sys
        >>> import numpy as np
        >>> from crsae_onnx.core.spikes.csv_table import write_rows
        >>> from crsae_onnx.core.spikes.detector import Spikes
        >>> spikes = Spikes(np.array([300]), np.array([1]), np.array([-52.5], np.float32))
        >>> write_rows(sys.stdout, spikes, 30000.0)
        0.0100000,1,-52.5,300
    """
    for sample, unit, value in zip(*(v.tolist() for v in spikes), strict=True):
        # Nine digits distinguish every float32 from its neighbours.
        file.write(f"{sample / sampling_frequency:.7f},{unit},{value:.9g},{sample}\n")


def read_table(path: str | os.PathLike[str]) -> Spikes:
    """The spikes of a file that ``write_header`` and ``write_rows`` wrote.

    Raises:
        ValueError: other columns, or a line that does not hold their numbers.
    """
    samples: list[int] = []
    units: list[int] = []
    values: list[float] = []
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if (first := next(lines, None)) != list(COLUMNS):
            raise ValueError(f"{path} starts with {first}. Expected the columns {','.join(COLUMNS)}.")
        for number, line in enumerate(lines, 2):
            try:
                _, unit, value, sample = line
                row = int(sample), int(unit), float(value)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {','.join(line)!r} is no spike. Expected "
                                 f"{','.join(COLUMNS)}.") from error
            samples.append(row[0])
            units.append(row[1])
            values.append(row[2])
    return Spikes(np.array(samples, np.int64), np.array(units, np.int64), np.array(values, np.float32))

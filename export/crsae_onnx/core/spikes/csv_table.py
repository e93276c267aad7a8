"""Spikes as a table of text: ``time_s,unit,amplitude,sample``, one spike a line, in order of time (NumPy)."""

import csv

import numpy as np

from crsae_onnx.core.spikes.detector import Spikes

#: Columns: seconds, row of the templates, extremum in the recording's unit, sample of the extremum.
COLUMNS = ("time_s", "unit", "amplitude", "sample")


def write_header(file):
    """The line with the columns' names; ``file``: open for text."""
    file.write(",".join(COLUMNS) + "\n")


def write_rows(file, spikes, sampling_frequency):
    """A line for each spike; ``read_table`` gives back the same samples, units and amplitudes, bit for bit.

    Example:
        >>> import sys
        >>> spikes = Spikes(np.array([300]), np.array([1]), np.array([-52.5], np.float32))
        >>> write_rows(sys.stdout, spikes, 30000.0)
        0.0100000,1,-52.5,300
    """
    for sample, unit, amplitude in zip(*(v.tolist() for v in spikes), strict=True):
        # Nine digits tell every float32 from its neighbours.
        file.write(f"{sample / sampling_frequency:.7f},{unit},{amplitude:.9g},{sample}\n")


def read_table(path):
    """The spikes of a file that ``write_header`` and ``write_rows`` wrote, as ``Spikes``.

    Raises:
        ValueError: other columns, or a line that does not hold their numbers.
    """
    sample, unit, amplitude = [], [], []
    with open(path, newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if (first := next(lines, None)) != list(COLUMNS):
            raise ValueError(f"{path} starts with {first}. Expected the columns {','.join(COLUMNS)}.")
        for number, line in enumerate(lines, 2):
            try:
                _, u, a, s = line
                sample.append(int(s)), unit.append(int(u)), amplitude.append(float(a))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {','.join(line)!r} is no spike. Expected "
                                 f"{','.join(COLUMNS)}.") from error
    return Spikes(np.array(sample, np.int64), np.array(unit, np.int64), np.array(amplitude, np.float32))
